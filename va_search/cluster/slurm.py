"""Batch files for SLURM: what `sbatch` and the cluster would make of one, before it is queued.

Conventions: options are read as `sbatch` reads them, from lines that begin with #SBATCH and stand
before the first command; a `#` ends them, quotes hold words together, the last of several counts,
and nothing is expanded but %-patterns of file names. Options that the user will type beside the file
are not known here, nor are the defaults of the cluster. Commands are looked through for words, not
run: what a script sources or computes is not seen. Lines count from 1."""

from __future__ import annotations

import getpass
import re
import shlex
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path

from va_search import __version__
from va_search.cluster.document import SETTING, Finding, Level
from va_search.errors import InputError, nearest_name

WITH_VALUE = """
    account acctg-freq array batch bb bbf begin chdir cluster-constraint clusters comment
    constraint container container-id core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task
    deadline delay-boot dependency distribution error exclude export export-file extra
    extra-node-info gid gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket gpus-per-task gres
    gres-flags hint input job-name kill-on-invalid-dep licenses mail-type mail-user mcs-label mem
    mem-bind mem-per-cpu mem-per-gpu mincpus network nodefile nodelist nodes ntasks ntasks-per-core
    ntasks-per-gpu ntasks-per-node ntasks-per-socket open-mode output partition power prefer priority
    profile qos reservation resv-ports segment signal sockets-per-node switches thread-spec
    threads-per-core time time-min tmp tres-bind tres-per-task uid wait-all-nodes wckey
    wrap"""
"""Options of `sbatch --help` that want a value."""

WITHOUT_VALUE = """
    contiguous exclusive get-user-env help hold ignore-pbs nice no-kill no-requeue oom-kill-step
    overcommit oversubscribe parsable propagate quiet reboot requeue spread-job stepmgr test-only
    usage use-min-nodes verbose version wait"""
"""Options that need none; some of them take one with `=`."""

SHORT = {
    "A": "account", "a": "array", "B": "extra-node-info", "b": "begin", "C": "constraint",
    "c": "cpus-per-task", "D": "chdir", "d": "dependency", "e": "error", "F": "nodefile",
    "G": "gpus", "H": "hold", "h": "help", "i": "input", "J": "job-name", "k": "no-kill",
    "L": "licenses", "M": "clusters", "m": "distribution", "N": "nodes", "n": "ntasks",
    "O": "overcommit", "o": "output", "p": "partition", "Q": "quiet", "q": "qos",
    "S": "core-spec", "s": "oversubscribe", "t": "time", "V": "version", "v": "verbose",
    "W": "wait", "w": "nodelist", "x": "exclude",
}  # fmt: skip
"""Long names of one-letter options."""

DIRECTIVE = "#SBATCH"
HETEROGENEOUS = re.compile(r"#SBATCH\s+(hetjob|packjob)\s*")
"""The line between the options of two parts of a job."""
NO_DIRECTIVE = re.compile(r"(?i)^(\s+#|\s*#\s+|#)sbatch\s+-")
"""A line that was meant to be one: indented, with a space, or in small letters."""

LOCAL = re.compile(
    r"^(/tmp|/var/tmp|/dev/shm|/local|/localscratch|/scratch/local|/lscratch)(/|$)"
    r"|^\$\{?(TMPDIR|SLURM_TMPDIR|LOCAL_SCRATCH|LSCRATCH)\b"
)
"""The beginning of a path that each node has for itself, as a rule."""

TIME = re.compile(r"(?:(\d+)-(\d+)(?::(\d+))?(?::(\d+))?|(\d+)(?::(\d+))?(?::(\d+))?)")
"""SLURM's times: days-hours:minutes:seconds, or minutes, minutes:seconds, hours:minutes:seconds."""

SIGNAL = re.compile(r"([BR]{1,2}:)?(?:SIG)?(\w+)(?:@(\d+))?")
STOPPING = {"INT", "TERM", "HUP", "USR1", "USR2", "XCPU", "1", "2", "10", "12", "15", "24"}
"""Signals at which a search writes its checkpoints and ends."""

SHORTEST_WARNING = 60
"""Seconds that running trials need to write their checkpoints, and Ray to end."""
SHORTEST_TIME = 600
"""Seconds; a shorter time limit is a slip, as a rule."""

OPTION_IN_COMMAND = r"""--{name}[=\s]+["']?([^\s"';&|)]+)"""
SYMMETRIC = r"\bray\s+symmetric-run\b"
ACTIVATING = re.compile(
    r"""(?:^|[\s;&|])(?:source|\.)\s+["']?([^\s"';&|]+)/bin/activate\b["']?(?:[ \t]+([^\s;&|]+))?"""
)
"""The folder of an environment, and the word after it: conda's script takes the name of one."""


@dataclass(frozen=True)
class BatchOption:
    """One option of the file, by its long name."""

    name: str
    value: str
    line: int


@dataclass(frozen=True)
class ShellLine:
    """A line of the script below its options, without its comment."""

    line: int
    text: str


@dataclass
class BatchFile:
    """A batch file as `sbatch` reads it; `findings` are those that the reading itself made."""

    path: Path
    lines: list[str]
    options: list[BatchOption] = field(default_factory=list)
    commands: list[ShellLine] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> BatchFile:
        """Read a file; InputError when it is missing or no text."""
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not a text in UTF-8 ({error.reason})") from error
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from error
        file = cls(path, text.split("\n"))
        if "\r" in text:
            file.lines = [line.rstrip("\r") for line in file.lines]
            line = text[: text.index("\r")].count("\n") + 1
            file.error(
                "line-ends", line, "lines end as on Windows (CRLF), which sbatch refuses: dos2unix"
            )
        file._read_lines()
        return file

    def error(self, rule: str, line: int, text: str) -> None:
        """Note what would keep the job from running as it is meant."""
        self.findings.append(Finding(rule, "error", line, text))

    def warn(self, rule: str, line: int, text: str) -> None:
        """Note what the user should know before the job is queued."""
        self.findings.append(Finding(rule, "warning", line, text))

    def option(self, names: str) -> BatchOption | None:
        """The last of the options with one of these names, with blanks between them; None where
        there is none."""
        wanted = names.split()
        return next((option for option in reversed(self.options) if option.name in wanted), None)

    def number(self, name: str) -> int | None:
        """The whole number, or the first of a range, that an option gives; None without it."""
        option = self.option(name)
        match = None if option is None else re.match(r"\d+", option.value)
        return None if match is None else int(match[0])

    def command(self, pattern: str) -> ShellLine | None:
        """The first line of the script that a regular expression is found in."""
        return next((line for line in self.commands if re.search(pattern, line.text)), None)

    def settings(self, name: str) -> list[tuple[int, str]]:
        """Lines that set an environment variable, and the values they set."""
        settings = []
        for command in self.commands:
            for variable, value in SETTING.findall(command.text):
                if variable == name:
                    settings.append((command.line, value.strip("\"'")))
        return settings

    def in_commands(self, name: str) -> list[tuple[int, str]]:
        """Lines of commands with an option such as --home, and its values."""
        pattern = re.compile(OPTION_IN_COMMAND.format(name=name))
        found_values = []
        for command in self.commands:
            for value in pattern.findall(command.text):
                found_values.append((command.line, value))
        return found_values

    @cached_property
    def nodes(self) -> int:
        """The number of nodes asked for; 1 unless the file says more."""
        return self.number("nodes") or 1

    # --- Reading ----------------------------------------------------------------------------------

    def _read_lines(self) -> None:
        if not self.lines[0].startswith("#!"):
            self.error("no-shell", 1, "sbatch wants #!/bin/bash as the first line")
        in_header = first_part = True
        for number, line in enumerate(self.lines, 1):
            if HETEROGENEOUS.fullmatch(line) and in_header:
                text = (
                    "a heterogeneous job: the search runs in its first part alone, and the others "
                    "wait for nothing; write one job, or --array (options below are not checked)"
                )
                self.warn("hetjob", number, text)
                first_part = False
            elif line.startswith(DIRECTIVE) and in_header and not first_part:
                continue
            elif line.startswith(DIRECTIVE):
                if in_header:
                    self._read_directive(number, line.removeprefix(DIRECTIVE))
                else:
                    text = (
                        "below the first command, where sbatch reads no options: it has no effect; "
                        "move it to the top"
                    )
                    self.error("option-late", number, text)
            elif NO_DIRECTIVE.match(line):
                text = "a comment for sbatch, without effect; write #SBATCH at the line's very beginning"
                self.error("option-comment", number, text)
            elif line.strip() and not line.lstrip().startswith("#"):
                in_header = False
                self.commands.append(ShellLine(number, re.sub(r"(^|\s)#.*", "", line)))

    def _read_directive(self, number: int, text: str) -> None:
        try:
            words = shlex.split(text, comments=True)
        except ValueError as error:
            self.error("option-quotes", number, f"sbatch can't read this ({error}): {text.strip()}")
            return
        while words:
            word = words.pop(0)
            if word.startswith("--") and len(word) > 2:
                self._read_long(number, word.removeprefix("--"), words)
            elif word.startswith("-") and len(word) > 1:
                self._read_short(number, word.removeprefix("-"), words)
            else:
                text = f"{word!r} is no option; a value with blanks wants quotes"
                self.error("option-word", number, text)

    def _read_long(self, number: int, word: str, words: list[str]) -> None:
        written, equals, value = word.partition("=")
        menu = [*WITH_VALUE.split(), *WITHOUT_VALUE.split()]
        longer = sorted(name for name in menu if name.startswith(written))
        if written in menu:
            name = written
        elif len(longer) == 1:  # getopt takes the beginning of a name where it is clear
            name = longer[0]
        else:
            near = nearest_name(written, menu)
            hint = "" if near is None else f"; did you mean --{near}?"
            self.error("option-unknown", number, f"--{written}: sbatch has no such option{hint}")
            return
        if name in WITH_VALUE.split() and not equals:
            value = words.pop(0) if words else ""
        self._note(number, name, value)

    def _read_short(self, number: int, word: str, words: list[str]) -> None:
        name = SHORT.get(word[0])
        if name is None:
            self.error("option-unknown", number, f"-{word[0]}: sbatch has no such option")
            return
        value = word[1:]
        if name in WITH_VALUE.split() and not value:
            value = words.pop(0) if words else ""
        self._note(number, name, value)

    def _note(self, number: int, name: str, value: str) -> None:
        if name in WITH_VALUE.split() and not value:
            self.error("option-value", number, f"--{name} wants a value")
            return
        if "$" in value or "`" in value:
            text = (
                f"--{name}={value}: sbatch expands no variables in its options; write the value, or "
                f"type it beside the file: sbatch --{name}={value} {self.path}"
            )
            self.error("option-variable", number, text)
        self.options.append(BatchOption(name, value, number))


def check_batch_file(path: Path) -> list[Finding]:
    """Findings about a batch file, in no order. InputError when it can't be read."""
    file = BatchFile.read(path)
    for check in CHECKS:
        check(file)
    return file.findings


# Time and signals ---------------------------------------------------------------------------------


def check_time(file: BatchFile) -> None:
    """Find a time limit that is missing, unreadable, or minutes where hours were meant."""
    option = file.option("time")
    if option is None:
        text = (
            "no time limit: the cluster's default is minutes on some and the longest queue on "
            "others; write #SBATCH --time=04:00:00"
        )
        file.error("time", 1, text)
        return
    seconds = seconds_of(option.value)
    if "$" in option.value:
        return
    if seconds is None:
        text = f"{option.value!r} is no time for SLURM; write hours:minutes:seconds, as in 04:00:00"
        file.error("time-value", option.line, text)
    elif seconds < SHORTEST_TIME:
        text = (
            f"{option.value!r} is {seconds} s for SLURM (minutes, minutes:seconds, "
            "hours:minutes:seconds); for hours write 04:00:00"
        )
        file.warn("time-short", option.line, text)


def seconds_of(text: str) -> int | None:
    """Seconds of a time limit as SLURM reads it; None where it is none, a year for UNLIMITED and
    0, which asks for no limit."""
    if text.upper() in ("UNLIMITED", "INFINITE", "0"):
        return 365 * 86400
    match = TIME.fullmatch(text)
    if match is None:
        return None
    days, *of_day = (int(part or 0) for part in match.groups()[:4])
    if match[1] is not None:
        hours, minutes, seconds = of_day
    elif match[7] is not None:
        hours, minutes, seconds = (int(part) for part in match.groups()[4:])
    else:
        hours, minutes, seconds = 0, int(match[5]), int(match[6] or 0)
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def check_signal(file: BatchFile) -> None:
    """Find a warning before the end that is missing, too late, or does not arrive."""
    option = file.option("signal")
    if option is None:
        text = (
            "no --signal: the job is not told of its end in time to go on by itself, and running "
            "trials lose what they did since their last checkpoint; write #SBATCH --signal=B:USR1@120"
        )
        file.warn("signal", 1, text)
        return
    match = SIGNAL.fullmatch(option.value)
    if match is None or match[2].upper() not in STOPPING:
        text = f"{option.value!r} is no signal that stops a search; write B:USR1@120"
        file.error("signal-value", option.line, text)
        return
    if int(match[3] or 60) < SHORTEST_WARNING:
        text = (
            f"{match[3]} s are short for the checkpoints of all running trials and for Ray to end; "
            "write B:USR1@120"
        )
        file.warn("signal-short", option.line, text)
    to_shell = "B" in (match[1] or "")
    search = file.command(r"\bva-search\s+(search|fit|retry)\b")
    if not to_shell:
        if search is not None and "srun" not in search.text:
            text = (
                "without B: the signal goes to the steps that srun started, not to this script and "
                "the search that it runs; write B:USR1@120"
            )
            file.error("signal-steps", option.line, text)
        return
    trap = file.command(r"\btrap\b")
    if trap is None:
        text = (
            "the signal ends this script at once, since nothing traps it; write: "
            "trap 'kill -USR1 \"$search\"' USR1, start the search with & and wait for it"
        )
        file.error("signal-trap", option.line, text)
    elif file.command(r"(^|[\s;])wait\b") is None:
        text = (
            "bash runs a trap only when the command in the foreground is over, so the search hears "
            "of nothing; start it with &, search=$!, and wait for it"
        )
        file.error("signal-wait", trap.line, text)


def check_requeue(file: BatchFile) -> None:
    """Find a job that does not come back, or whose output is lost when it does."""
    option = file.option("requeue no-requeue")
    if option is None or option.name == "no-requeue":
        text = (
            "without --requeue a job whose node is lost, or that is preempted, may not come back; "
            "write #SBATCH --requeue"
        )
        file.warn("requeue", 1 if option is None else option.line, text)
        return
    mode = file.option("open-mode")
    if mode is None or mode.value != "append":
        text = (
            "a job that comes back overwrites what it printed before; write "
            "#SBATCH --open-mode=append"
        )
        file.warn("open-mode", option.line if mode is None else mode.line, text)


# What is asked for --------------------------------------------------------------------------------


def check_resources(file: BatchFile) -> None:
    """Find no GPU, no memory, a whole node that is not needed."""
    gpus = "gpus gpus-per-node gpus-per-task gpus-per-socket"
    gres = file.option("gres tres-per-task")
    if file.option(gpus) is None and (gres is None or "gpu" not in gres.value):
        text = "no GPU is asked for: trials train on CPUs; write #SBATCH --gpus-per-node=1 (0: that is meant)"
        file.warn("gpu", 1, text)
    if file.option("mem mem-per-cpu mem-per-gpu") is None:
        text = (
            "no memory is asked for: a job then gets the cluster's default for each CPU, on some "
            "a gigabyte or two, and is killed above it; write #SBATCH --mem=32G"
        )
        file.warn("memory", 1, text)
    exclusive = file.option("exclusive")
    if exclusive is not None and file.command(SYMMETRIC) is None:
        text = "not needed: a search uses what it was given, and may share its node; leave it out"
        file.warn("exclusive", exclusive.line, text)


def check_nodes(file: BatchFile) -> None:
    """Find nodes that nothing runs on, tasks beside one another, arrays of several nodes."""
    starting = file.command(rf"{SYMMETRIC}|\bsrun\b")
    if file.nodes > 1 and starting is None:
        nodes = file.option("nodes")
        assert nodes is not None
        text = (
            f"{file.nodes} nodes, but nothing starts Ray on the others: only the first one would "
            "train; see clusters/slurm.sh, or use --array with one node each"
        )
        file.error("nodes-idle", nodes.line, text)
    per_node = file.option("ntasks-per-node")
    tasks = file.option("ntasks")
    if per_node is not None and file.number("ntasks-per-node") != 1:
        text = "one task a node is enough: Ray runs the trials beside one another; write 1"
        file.error("tasks", per_node.line, text)
    elif per_node is None and tasks is not None and file.number("ntasks") != file.nodes:
        text = "one task a node is enough; write #SBATCH --ntasks-per-node=1, and --cpus-per-task"
        file.error("tasks", tasks.line, text)
    symmetric = file.command(SYMMETRIC)
    if symmetric is not None and file.option("exclusive") is None:
        text = (
            "`ray symmetric-run` does not start where any Ray runs on a node, and ends all of yours "
            "there: two jobs can't share a node; see clusters/slurm.sh"
        )
        file.warn("symmetric-run", symmetric.line, text)
    stopping = file.command(r"\bray\s+stop\b")
    if stopping is not None and file.option("exclusive") is None:
        text = (
            "`ray stop` ends every Ray of yours on the node, those of other jobs too; leave it out"
        )
        file.warn("ray-stop", stopping.line, text)


def check_array(file: BatchFile) -> None:
    """Find arrays whose jobs do not work one study off together."""
    array = file.option("array")
    if array is None:
        return
    if file.nodes > 1:
        text = (
            f"each job of the array would be a search on {file.nodes} nodes; write --nodes=1 and a "
            "longer array, or no array"
        )
        file.warn("array-nodes", array.line, text)
    search = file.command(r"\bva-search\s+(search)\b")
    if search is not None and file.command(r"--join\b") is None:
        text = (
            "the jobs of an array search one study together only with --join; without it the "
            "second one is refused"
        )
        file.error("array-join", search.line, text)
    for name in ("output", "error"):
        option = file.option(name)
        if option is not None and not re.search(r"%\d*[aAjJ]", option.value):
            text = f"all jobs of the array would write to {option.value}; write %A_%a into its name"
            file.warn("array-output", option.line, text)


# Where things are ---------------------------------------------------------------------------------


def check_home(file: BatchFile) -> None:
    """Find a home that is not named, or that each node would have for itself; likewise the
    store."""
    homes = [*file.settings("VA_SEARCH_HOME"), *file.in_commands("home")]
    if not homes:
        text = (
            "no home is named: it would be va-home in the folder from which the job is queued; "
            "write export VA_SEARCH_HOME=… with a folder that all nodes share"
        )
        file.warn("no-home", file.commands[0].line if file.commands else 1, text)
    for line, home in homes:
        if LOCAL.match(_default_of(home)):
            text = (
                f"the home {home} is on the node's own disk, which other nodes don't see and which "
                "may be emptied after the job; name a folder that all nodes share"
            )
            file.error("local-home", line, text)
    for line, store in file.in_commands("data"):
        if LOCAL.match(store):
            text = (
                f"the store {store} is on the node's own disk, where another node, or this job when "
                "it comes back, has none; name one that all nodes share: it is read once"
            )
            file.warn("local-store", line, text)


def _default_of(value: str) -> str:
    """Return `path` of ${VARIABLE:-path}; any other value as it is."""
    match = re.fullmatch(r"\$\{\w+:?-(.*)\}", value)
    return value if match is None else match[1]


def check_output(file: BatchFile) -> None:
    """Find files of output in folders that do not exist: SLURM then fails without a word."""
    names = {"%u": getpass.getuser()}
    job = file.option("job-name")
    names["%x"] = file.path.name if job is None else job.value
    base = file.option("chdir")
    for name in ("output", "error"):
        option = file.option(name)
        if option is None or "$" in option.value:
            continue
        folder = str(Path(option.value).parent)
        for pattern, word in names.items():
            folder = folder.replace(pattern, word)
        if folder.startswith("~"):
            text = f"sbatch does not expand ~ in {option.value}; write the whole path"
            file.error("output-folder", option.line, text)
            continue
        path = Path(folder) if base is None else Path(base.value) / folder
        if "%" in folder or not path.is_dir():
            text = (
                f"the folder {folder} is not there, and SLURM makes none: the job would end at once, "
                f"without a word; mkdir -p {folder}"
            )
            file.error("output-folder", option.line, text)


def check_environment(file: BatchFile) -> None:
    """Find an environment that is not there or has another Ray or va-search than this one, and one
    that does not reach the job."""
    for command in file.commands:
        for folder, name in ACTIVATING.findall(command.text):
            # With a name conda activates one of its own environments, wherever that lies.
            if "$" not in folder and not name:
                _check_installed(file, command.line, Path(folder).expanduser())
    export = file.option("export")
    if export is not None and export.value.upper() in ("NONE", "NIL"):
        text = (
            "nothing of your shell's environment reaches the job, nor the job's the steps that srun "
            "starts; leave it out, or write --export=ALL"
        )
        level: Level = "warning" if file.command(r"\bsrun\b") is None else "error"
        file.findings.append(Finding("export", level, export.line, text))


def _check_installed(file: BatchFile, line: int, environment: Path) -> None:
    if not environment.is_dir():
        text = (
            f"the environment {environment} is not there; a path from the folder in which the job "
            "is queued, or a whole one"
        )
        file.error("environment", line, text)
        return
    for package, own_version in (("ray", metadata.version("ray")), ("va_search", __version__)):
        versions = {
            info.name.removeprefix(f"{package}-").removesuffix(".dist-info")
            for info in environment.glob(f"lib/python3*/site-packages/{package}-*.dist-info")
        }
        if not versions and package == "ray":
            file.error("environment", line, f"{environment} has no Ray; install va-search there")
        for version in sorted(versions - {own_version}):
            text = f"{package} {version} in {environment}, {own_version} here: a study wants one version"
            file.error("environment-version", line, text)


def check_token(file: BatchFile) -> None:
    """Find a Ray that other users of the cluster could use, or a token that they could read."""
    starting = file.command(rf"{SYMMETRIC}|\bray\s+start\b")
    modes = [value for _, value in file.settings("RAY_AUTH_MODE")]
    if starting is not None and "token" not in modes:
        text = (
            "Ray without a token: whoever reaches the node runs there what they like, as you; write "
            "export RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
        )
        file.error("token", starting.line, text)
    for line, value in file.settings("RAY_AUTH_TOKEN"):
        if value and not value.startswith("$"):
            text = "a token is written down in this file, which others read; make one in the job"
            file.error("token-written", line, text)


def check_filled_in(file: BatchFile) -> None:
    """Find names that the user must put in."""
    for number, line in enumerate(file.lines, 1):
        match = re.search(r"\S*FILL-IN\S*", re.sub(r"(^|\s)# .*", "", line))
        if match is not None:
            file.warn("fill-in", number, f"{match[0]}: put in your own")


CHECKS = (
    check_time,
    check_signal,
    check_requeue,
    check_resources,
    check_nodes,
    check_array,
    check_home,
    check_output,
    check_environment,
    check_token,
    check_filled_in,
)


def is_batch_file(path: Path) -> bool:
    """Return True for a script or a file with options for `sbatch`; False for one that can't be
    read."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return path.suffix in (".sh", ".sbatch", ".slurm")
    return text.startswith("#!") or any(line.startswith(DIRECTIVE) for line in text.splitlines())
