"""What hostile programs try, and how each must end.

A program prints ESCAPED with a reason when it got something that it must not get, and `done` when it has tried all
that it knows. `host.json` in its working folder says what there is on the host to be got at; `attack.py` has the words
that all of them use. The expectation is judged on the result; `sandbox_suite.py` watches the host meanwhile.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from fulmen.tools.sandbox import Limit, SandboxResult

Judge = Callable[[SandboxResult], bool]

WORDS = """
import ctypes, json, os, signal, socket, subprocess, sys, threading, time
host = json.load(open("host.json"))
libc = ctypes.CDLL(None, use_errno=True)

def escaped(*what):
    print("ESCAPED", *what, flush=True)

def must_fail(name, action):
    try:
        got = action()
    except OSError:
        return
    escaped(name, got)

def read(path):
    with open(path, "rb") as file:
        return file.read(1 << 20)

def write(path, text):
    return os.write(os.open(path, os.O_WRONLY), text)
"""


@dataclass(frozen=True, kw_only=True)
class Attack:
    """A program, the limits that it meets (changes to the suite's own), and the judgement of its end."""

    source: str
    expect: Judge
    limits: dict[str, float] = field(default_factory=dict)
    collect: tuple[str, ...] = ()


def tried_all(result: SandboxResult) -> bool:
    """It did all that it wanted and nothing came of it."""
    return result.succeeded and result.stdout.text.rstrip().endswith("done")


def ended_by(*limits: Limit) -> Judge:
    """One of `limits` ended it."""
    return lambda result: result.ended_by in limits


ATTACKS: dict[str, Attack] = {
    # Using up what others need.
    "fork bomb": Attack(
        source="""
while True:
    try:
        os.fork()
    except OSError:
        pass
""",
        expect=ended_by(Limit.CPU, Limit.PROCESSES, Limit.MEMORY, Limit.WALL),
    ),
    "thread bomb": Attack(
        source="""
stop, started = threading.Event(), 0
try:
    while started < 5000:
        threading.Thread(target=stop.wait).start()
        started += 1
except (RuntimeError, MemoryError):
    pass
stop.set()
if started > host["processes"]:
    escaped(started, "threads")
print("done")
""",
        expect=tried_all,
    ),
    "memory bomb": Attack(
        source="""
held = []
try:
    while True:
        held.append(bytearray(1 << 24))
except MemoryError:
    got = len(held) << 24
    held.clear()
    if got > host["memory_bytes"]:
        escaped(got, "bytes")
    print("done")
""",
        expect=tried_all,
    ),
    "memory bomb of many": Attack(
        source="""
for _ in range(6):
    if os.fork() == 0:
        held = bytearray(b"x") * (100 << 20)
        time.sleep(600)
time.sleep(600)
""",
        expect=ended_by(Limit.MEMORY),
    ),
    "files fill the memory": Attack(
        source="""
written = 0
for folder in ("/tmp", "/dev/shm"):
    for i in range(100):
        try:
            with open(f"{folder}/{i}", "wb") as file:
                written += file.write(bytes(1 << 20))
        except OSError:
            break
if written > host["disk_bytes"] + (16 << 20):
    escaped(written, "bytes")
print("done")
""",
        expect=tried_all,
    ),
    "files without number": Attack(
        source="""
for i in range(10**9):
    os.close(os.open(f"/tmp/{i}", os.O_CREAT))
""",
        expect=ended_by(Limit.FILES),
    ),
    "huge file": Attack(
        source="""
huge = os.open("huge", os.O_CREAT | os.O_WRONLY)
must_fail("truncate", lambda: os.ftruncate(huge, host["file_bytes"] + 1))
must_fail("seek", lambda: os.pwrite(huge, b"x", 1 << 40))
must_fail("fallocate", lambda: os.posix_fallocate(huge, 0, 1 << 40))
os._exit(os.system("head -c 20000000 /dev/zero > more; stat -c %s more; echo done"))
""",
        expect=lambda result: result.exit_code == 0 and int(result.stdout.text.split()[0]) <= 1 << 20,
    ),
    "file size signal": Attack(
        source="""
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
open("huge", "wb").truncate(host["file_bytes"] + 1)
""",
        expect=ended_by(Limit.FILE_SIZE),
    ),
    "endless loop": Attack(source="while True: pass", expect=ended_by(Limit.CPU)),
    "endless loop that ignores signals": Attack(
        source="""
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
while True: pass
""",
        expect=ended_by(Limit.CPU),
    ),
    "hides the CPU time of its children": Attack(
        source="""
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
burnt = 0.0
while burnt < 3 * host["cpu_seconds"]:
    ours, theirs = os.pipe()
    if os.fork() == 0:
        while time.process_time() < 0.01:
            pass
        os.write(theirs, str(time.process_time()).encode())
        os._exit(0)
    burnt += float(os.read(ours, 100))
    os.close(ours), os.close(theirs)
escaped(burnt, "seconds")
""",
        expect=ended_by(Limit.CPU),
    ),
    "sleeps for ever": Attack(
        source="signal.pthread_sigmask(signal.SIG_SETMASK, set(signal.Signals)); time.sleep(10**6)",
        expect=ended_by(Limit.WALL),
        limits={"wall_seconds": 2},
    ),
    "stops itself": Attack(
        source="os.kill(os.getpid(), signal.SIGSTOP)", expect=ended_by(Limit.WALL), limits={"wall_seconds": 2}
    ),
    "output flood": Attack(source="while True: os.write(1, b'flood ' * 10000)", expect=ended_by(Limit.OUTPUT)),
    "error flood": Attack(source="while True: os.write(2, bytes(range(256)) * 256)", expect=ended_by(Limit.OUTPUT)),
    "closes its streams": Attack(
        source="os.closerange(0, 256); time.sleep(10**6)", expect=ended_by(Limit.WALL), limits={"wall_seconds": 2}
    ),
    "daemon": Attack(
        source="""
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        os.closerange(0, 256)
        os.execv("/bin/sh", ["sh", "-c", "sleep 1000000; : " + host["token"]])
    os._exit(0)
os.wait()
print("done")
""",
        expect=tried_all,
    ),
    # Getting out.
    "network": Attack(
        source="""
def connect(family, kind, address):
    with socket.socket(family, kind) as client:
        client.settimeout(3)
        client.connect(address)
        client.send(b"hello")
        return address

must_fail("host's loopback", lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", host["port"])))
must_fail("udp", lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, ("192.0.2.1", 53)))
must_fail("tcp", lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("192.0.2.1", 80)))
must_fail("names", lambda: socket.getaddrinfo("example.org", 80))
must_fail("abstract socket", lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, "\\0" + host["abstract"]))
must_fail("socket file", lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, host["socket"]))
print("done")
""",
        expect=tried_all,
    ),
    "strange sockets": Attack(
        source="""
for family in ("AF_VSOCK", "AF_NETLINK", "AF_PACKET", "AF_ALG", "AF_BLUETOOTH", "AF_TIPC", "AF_CAN", "AF_KEY"):
    if hasattr(socket, family):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            must_fail(family, lambda: socket.socket(getattr(socket, family), kind))
must_fail("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
print("done")
""",
        expect=tried_all,
    ),
    "reading outside": Attack(
        source="""
places = [host["secret_file"], "/etc/passwd", "/etc/shadow", "/var/log/dpkg.log", "/sys/kernel/notes", "/dev/mem"]
places += ["/proc/kcore", "/proc/1/root" + host["secret_file"], "/proc/1/cwd" + host["secret_file"]]
for place in places:
    must_fail(place, lambda: read(place)[:100])
for folder in ("/home", "/var", "/sys", "/run", "/srv", "/mnt"):
    must_fail(folder, lambda: os.listdir(folder))
print("done")
""",
        expect=tried_all,
    ),
    "writing outside": Attack(
        source="""
free = ("/tmp", "/dev/shm", "/proc")
for folder, folders, names in os.walk("/"):
    if folder.startswith(free) or folder.count("/") > 3:
        folders.clear()
        continue
    must_fail(folder, lambda: os.close(os.open(os.path.join(folder, host["token"]), os.O_CREAT | os.O_WRONLY)))
    must_fail(folder, lambda: os.mkdir(os.path.join(folder, host["token"])))
for file in ("/usr/bin/env", "/etc/ld.so.cache", sys.executable):
    must_fail(file, lambda: open(file, "r+b"))
    must_fail(file, lambda: os.rename(file, file + "x"))
    must_fail(file, lambda: os.chmod(file, 0o777))
for file in ("core_pattern", "modprobe", "hostname", "randomize_va_space"):
    must_fail(file, lambda: write("/proc/sys/kernel/" + file, b"x"))
must_fail("sysrq", lambda: write("/proc/sysrq-trigger", b"s"))
must_fail("outside", lambda: open(host["outside"], "w"))
print("done")
""",
        expect=tried_all,
    ),
    "environment": Attack(
        source="""
if host["token"] in str(os.environ):
    escaped("os.environ")
for pid in filter(str.isdigit, os.listdir("/proc")):
    for file in ("environ", "cmdline", "maps"):
        try:
            if host["token"].encode() in read(f"/proc/{pid}/{file}"):
                escaped(pid, file)
        except OSError:
            pass
print("done")
""",
        expect=tried_all,
    ),
    "other processes": Attack(
        source="""
pids = [int(pid) for pid in os.listdir("/proc") if pid.isdigit()]
if len(pids) > 3 or max(pids) > 20:
    escaped("sees", pids)
descriptors = set(os.listdir("/proc/self/fd"))
if len(descriptors) > 4:
    escaped("was left", descriptors)
print("done")
""",
        expect=tried_all,
    ),
    "signals": Attack(
        source="""
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
    for target in (host["pid"], os.getppid(), 1, -1):
        try:
            os.kill(target, number)
        except OSError:
            pass
print("done")
""",
        expect=tried_all,
    ),
    "takes over the first process": Attack(
        source="""
for line in open("/proc/1/maps"):
    span, access = line.split()[:2]
    start, end = (int(part, 16) for part in span.split("-"))
    if "x" in access and "vsyscall" not in line:
        with open("/proc/1/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            memory.write(b"\\xcc" * (end - start))
os.kill(1, signal.SIGCHLD)
time.sleep(5)
""",
        expect=lambda result: True,  # it may bring down its own sandbox; the host is what counts
    ),
    "links in its output": Attack(
        source="""
os.symlink(host["secret_file"], "link")
os.symlink("/", "folder_link")
os.symlink("/proc/self/root", "magic")
os.symlink("loop", "loop")
os.mkfifo("pipe")
must_fail("hard link", lambda: os.link(host["secret_file"], "hard"))
os.mkdir("inner")
os.symlink(os.path.dirname(host["secret_file"]), "inner/up")
socket.socket(socket.AF_UNIX).bind("socket")
open("plain", "w").write("plain")
os.rename("/tmp/work", "/tmp/moved")
os.symlink("/", "/tmp/work")
print("done")
""",
        collect=(".", "folder_link/etc", "inner/up/secret", "magic/etc"),
        expect=lambda result: tried_all(result)
        and set(result.files) == {"plain", "program.py", "attack.py", "host.json"}
        and {"link", "folder_link", "magic", "loop", "pipe", "socket", "inner/up"} <= set(result.left_out),
    ),
    "too much to read back": Attack(
        source="""
for i in range(100):
    with open(f"sparse{i:03}", "wb") as file:
        file.truncate(host["file_bytes"])
deep = ""
for i in range(200):
    deep += "d/"
    os.mkdir(deep)
os.close(os.open(b"\\xff\\xfe\\n name", os.O_CREAT))
print("done")
""",
        collect=(".",),
        expect=lambda result: tried_all(result)
        and sum(map(len, result.files.values())) <= 4 << 20
        and "sparse099" in result.left_out,
    ),
    # Asking the kernel.
    "forbidden system calls": Attack(
        source="""
for name, number in host["forbidden"].items():
    if libc.syscall(number, 0, 0, 0, 0, 0, 0) != -1:
        escaped(name)
NEWUSER, NEWNS, SIGCHLD = 0x10000000, 0x20000, 17
for flags in (NEWUSER, NEWNS, NEWUSER | NEWNS):
    child = libc.syscall(host["clone"], flags | SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    if child != -1:
        escaped("clone", flags)
if subprocess.run(["unshare", "-Ur", "true"], stderr=subprocess.DEVNULL).returncode == 0:
    escaped("unshare")
if libc.ioctl(0, 0x5412, b"x") != -1:
    escaped("TIOCSTI")
print("done")
""",
        expect=tried_all,
    ),
    "privileges": Attack(
        source="""
import resource
for action in (os.setuid, os.setgid, os.seteuid, lambda _: os.setgroups([0]), lambda _: os.chroot("/tmp")):
    must_fail("privilege", lambda: action(0))
must_fail("priority", lambda: os.nice(-5))
for name in ("RLIMIT_NPROC", "RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_NOFILE"):
    kind = getattr(resource, name)
    hard = resource.getrlimit(kind)[1]
    try:
        resource.setrlimit(kind, (hard + 1, hard + 1))
        escaped(name)
    except (ValueError, OSError):
        pass
if hasattr(os, "sched_setscheduler"):
    must_fail("real time", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
must_fail("out of memory score", lambda: write("/proc/self/oom_score_adj", b"-1000"))
must_fail("block device", lambda: (os.mknod("/tmp/disk", 0o60666, os.makedev(254, 0)), read("/tmp/disk")))
must_fail("character device", lambda: (os.mknod("/tmp/mem", 0o20666, os.makedev(1, 1)), read("/tmp/mem")))
if os.geteuid() == 0 or os.getuid() == 0:
    escaped("is root")
print("done")
""",
        expect=tried_all,
    ),
}  # fmt: skip

HONEST = Attack(
    source="print(sum(i * i for i in range(100_000)))",
    expect=lambda result: result.succeeded and result.stdout.text == "333328333350000\n",
)
