"""The wire: HTTP and server-sent events around `chat` and `engine`, in the forms of OpenAI's API.

Nothing here knows tensors. A request passes `limits` and `auth`, is read strictly by `request_body`, checked by
`protocol`, turned into a prompt by `generation`, and answered by one of the endpoint modules.
"""
