"""Where training samples come from: documents and conversations of files, problems of tasks, and mixtures of these."""
