"""The system calls that a sandboxed program can make, compiled to a filter for seccomp.

A list of what is allowed, because it fails to the safe side: what is not in it, and what kernels will bring, answers
ENOSYS as an old kernel would, and libraries fall back. Left out on purpose: everything that mounts, makes namespaces,
traces or reads other processes, touches keys, loads code into the kernel or sets clocks; io_uring, which filters can't
see into; sync, which waits for the host's disks; and memory that lies outside all limits (memfd, extended attributes,
queues and segments of System V and POSIX).

libseccomp compiles it: it knows the numbers for each architecture, and rejects calls in the manner of another one.
"""

import errno
import os
import socket
import tempfile
import termios
from functools import cache

FILES = """
access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fstat fstatfs
fsync ftruncate futimesat getcwd getdents getdents64 getxattr lchown lgetxattr link linkat listxattr llistxattr lseek
lstat mkdir mkdirat mknod mknodat newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read
readahead readlink readlinkat readv rename renameat renameat2 rmdir sendfile splice stat statfs statx symlink
symlinkat sync_file_range tee truncate umask unlink unlinkat utime utimensat utimes write writev
"""
MEMORY = "brk madvise membarrier mincore mlock mlock2 mlockall mmap mprotect mremap msync munlock munlockall munmap"
PROCESSES = """
arch_prctl capget capset execve execveat exit exit_group fork futex futex_waitv get_robust_list getegid geteuid getgid
getgroups getpgid getpgrp getpid getppid getpriority getresgid getresuid getrlimit getrusage getsid gettid getuid
getcpu kill pidfd_open pidfd_send_signal prctl prlimit64 restart_syscall rseq sched_get_priority_max
sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
sched_setaffinity sched_yield set_robust_list set_tid_address setfsgid setfsuid setgid setgroups setpgid setpriority
setregid setresgid setresuid setreuid setrlimit setsid setuid sysinfo tgkill times tkill uname vfork wait4 waitid
"""
SIGNALS = """
pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
rt_tgsigqueueinfo sigaltstack signalfd signalfd4
"""
TIME = """
alarm clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep setitimer time timer_create
timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime
"""
EVENTS = """
epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 getrandom pipe pipe2 poll
ppoll pselect6 select
"""
SOCKETS = """
accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg sendto
setsockopt shutdown
"""
ALLOWED = " ".join([FILES, MEMORY, PROCESSES, SIGNALS, TIME, EVENTS, SOCKETS]).split()

# Families that the sandbox's own, empty network namespace confines; a virtual machine's vsock is none of them.
SOCKET_FAMILIES = [socket.AF_UNIX, socket.AF_INET, socket.AF_INET6]
# What terminals, pipes and sockets are asked in everyday programs; TIOCSTI, which types for others, is not.
REQUESTS = [
    termios.TCGETS,
    termios.TIOCGWINSZ,
    termios.FIONREAD,
    termios.FIONBIO,
    termios.FIOCLEX,
    termios.FIONCLEX,
]
# CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET: none of them may be set. clone3 takes its
# flags from memory, where no filter looks, and is not allowed at all; the C library then uses clone.
NAMESPACE_FLAGS = 0x7E020080


@cache
def compiled_filter() -> bytes:
    """The filter as a program for the kernel's BPF machine, for the architecture of this process.

    Raises:
        OSError: libseccomp is missing or can't build the filter. Nothing runs without it.
    """
    try:
        import pyseccomp
    except RuntimeError as error:  # what it raises without the library
        raise OSError("libseccomp is missing (on Debian and Ubuntu: apt install libseccomp2)") from error
    rules = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.ENOSYS))
    for name in ALLOWED:
        number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
        if number >= 0:  # negative: unknown to this architecture or this libseccomp, and so it stays forbidden
            rules.add_rule(pyseccomp.ALLOW, number)
    for family in SOCKET_FAMILIES:
        for call in ("socket", "socketpair"):
            rules.add_rule(pyseccomp.ALLOW, call, pyseccomp.Arg(0, pyseccomp.EQ, int(family)))
    for request in REQUESTS:
        rules.add_rule(pyseccomp.ALLOW, "ioctl", pyseccomp.Arg(1, pyseccomp.EQ, request))
    rules.add_rule(pyseccomp.ALLOW, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, NAMESPACE_FLAGS, 0))
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def filter_descriptor() -> int:
    """A descriptor from which bubblewrap can read the filter; the caller closes it. Raises OSError."""
    descriptor = os.memfd_create("seccomp")
    os.write(descriptor, compiled_filter())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
