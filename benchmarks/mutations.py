"""Which changes to the code the tests notice: each is made in a copy, and its tests are run on it.

    python -m benchmarks.mutations MODULE ... [--tests PATH ...] [--sample N] [--seed 0] [--timeout 300]
    python -m benchmarks.mutations --named [PACKAGE]

MODULE is as in an import, `trainer.training.guard`. Its tests are those that mirror it
(`tests/trainer/training/test_guard.py`), and those of --tests. What is changed, one at a time: comparisons,
arithmetic, numbers, truth values, conditions negated, statements left out. With --sample only so many of
them, drawn at random. --named makes the changes that once went unnoticed, by name (with PACKAGE, `meshibot`,
only those of its files). Where the code has moved on and no longer holds what was changed, the table says so
and the status is 1: such a change has to be written anew, or struck off for a reason.

Prints a table in Markdown, and each change that survived. Uses fork: runs on Linux and macOS. Not for CI: it
takes hours.
"""

import argparse
import ast
import importlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult,
}  # fmt: skip


SLOW = (
    *("torch", "torch._dynamo", "sklearn.neighbors", "PIL"),
    *("sqlalchemy.orm", "alembic", "pydantic_settings", "requests"),
)
"""What takes long to import, and is imported once, before the tests' processes are forked."""


@dataclass(frozen=True)
class Change:
    """A part of a file, and what is written in its place."""

    path: str
    line: int
    old: str
    new: str
    start: int
    end: int
    """Offsets in the file's bytes."""

    def __str__(self) -> str:
        old, new = (" ".join(text.split()) for text in (self.old, self.new))
        return f"{self.path}:{self.line}: `{old[:70]}` → `{new[:70]}`"


@dataclass(frozen=True)
class Named:
    """A change of the issue that asked for tests that see it."""

    name: str
    path: str
    old: str
    new: str
    tests: str


TRAINING = "trainer/training"
NAMED = (
    Named(
        "no version check when a claim is held",
        "meshibot/outbox/claim.py",
        "        if not account.lease_owner == post.lease_owner == claim.owner:\n"
        "            raise LeaseLost\n        account.lease_expires_at",
        "        account.lease_expires_at",
        "tests/meshibot/outbox/test_claim.py",
    ),
    Named(
        "no last look at the claim before a post leaves",
        "meshibot/outbox/claim.py",
        "            raise LeaseLost\n        left = ",
        "            pass\n        left = ",
        "tests/meshibot/outbox/test_claim.py",
    ),
    Named(
        "no last look at the clocks before a post leaves",
        "meshibot/outbox/claim.py",
        "if left <= 0 or is_free(",
        "if left <= -1e9 and is_free(",
        "tests/meshibot/outbox/test_claim.py",
    ),
    Named(
        "retweets counted in the look",
        "meshibot/publishers/x/publisher.py",
        'exclude=["replies", "retweets"]',
        'exclude=["replies"]',
        "tests/meshibot/publishers/x/test_publisher.py",
    ),
    Named(
        "the newest match taken for ours",
        "meshibot/outbox/reconcile.py",
        "Published(made_since[0])",
        "Published(made_since[-1])",
        "tests/meshibot/outbox/test_reconcile.py",
    ),
    Named(
        "a post that needs a person left out of the budget",
        "meshibot/database/queries.py",
        "PostState.DELETED, PostState.NEEDS_PERSON)",
        "PostState.DELETED)",
        "tests/meshibot/outbox/test_choose.py",
    ),
    Named(
        "sends for a stopped account",
        "meshibot/outbox/deliver.py",
        "if now > post.deadline or account.state is AccountState.STOPPED:",
        "if now > post.deadline:",
        "tests/meshibot/outbox/test_reconcile.py",
    ),
    Named(
        "waits without a cap of a day",
        "meshibot/outbox/decide.py",
        " now + LONGEST_WAIT)",
        " datetime.max.replace(tzinfo=now.tzinfo))",
        "tests/meshibot/outbox/test_decide.py",
    ),
    Named(
        "looks not reset at a new send",
        "meshibot/outbox/reconcile.py",
        "if before is None or before.sent_at != post.sent_at:",
        "if before is None:",
        "tests/meshibot/outbox/test_reconcile.py",
    ),
    Named(
        "the folder not synced",
        "trainer/files.py",
        "    sync_folder(path.parent)\n",
        "",
        "tests/trainer/test_files.py",
    ),
    Named(
        "logging shows its own errors",
        "meshibot/logs.py",
        "logging.raiseExceptions = False",
        "logging.raiseExceptions = True",
        "tests/meshibot/test_logs.py",
    ),
    Named(
        "a late answer overwrites what is posted",
        "meshibot/outbox/deliver.py",
        "        if post.remote_id is None:\n",
        "        if True:\n",
        "tests/meshibot/outbox/test_claim.py",
    ),
    Named(
        "the look begins at the moment in place of a day before",
        "meshibot/outbox/reconcile.py",
        "post.created_at - timedelta(days=1)",
        "post.created_at",
        "tests/meshibot/outbox/test_reconcile.py",
    ),
    Named(
        "the checkpoint ships the latest generator",
        f"{TRAINING}/snapshots.py",
        "                networks.generator_average,",
        "                networks.generator,",
        "test_session.py",
    ),
    Named(
        "the checkpoint ships the latest critic",
        f"{TRAINING}/snapshots.py",
        "                networks.critic_average,",
        "                networks.critic,",
        "test_session.py",
    ),
    Named(
        "sheets and figures of the latest generator",
        f"{TRAINING}/snapshots.py",
        "draw(training.networks.generator_average,",
        "draw(training.networks.generator.eval(),",
        "test_session.py",
    ),
    Named(
        "always the first batch",
        f"{TRAINING}/training.py",
        "order.indices(shown + k * config.batch,",
        "order.indices(0,",
        "test_training.py",
    ),
    Named(
        "always mirrored",
        f"{TRAINING}/photographs.py",
        "mirror(images, look >= looks // 2)",
        "mirror(images, look >= 0)",
        "test_training.py",
    ),
    Named(
        "DCGAN's reals and fakes joined",
        f"{TRAINING}/training.py",
        'joined=config.critic_norm != "batch"',
        "joined=True",
        "test_training.py",
    ),
    Named(
        "no augmentation of photographs",
        f"{TRAINING}/photographs.py",
        "self._see(augment(images), ",
        "self._see(images, ",
        "test_training.py",
    ),
    Named(
        "no augmentation of fakes",
        f"{TRAINING}/step.py",
        "task.augmentation(widened(pictures), draw.numbers)",
        "widened(pictures)",
        "test_step.py",
    ),
    Named(
        "r_v with held-out and training photographs exchanged",
        f"{TRAINING}/heldout.py",
        "(apart - held) / apart if apart > 0",
        "(held - apart) / held if held > 0",
        "test_heldout.py",
    ),
    Named(
        "the sign of r_v turned",
        f"{TRAINING}/heldout.py",
        "(apart - held) / apart",
        "(held - apart) / apart",
        "test_heldout.py",
    ),
    Named(
        "the held-out penalty taken on training photographs",
        f"{TRAINING}/heldout.py",
        "            for reals in (training, held_out)\n",
        "            for reals in (training, training)\n",
        "test_heldout.py",
    ),
    Named(
        "the best kept while a sign shows",
        f"{TRAINING}/session.py",
        "        elif self.guard.calm:",
        "        else:",
        "test_session.py",
    ),
    Named(
        "overfitting without clear separation",
        f"{TRAINING}/guard.py",
        " and head.separation >= CLEAR_SEPARATION",
        "",
        "test_guard.py",
    ),
    Named(
        "WGAN with Adam",
        f"{TRAINING}/training.py",
        'if self.config.objective == "wgan":',
        "if False:",
        "test_training.py",
    ),
    Named(
        "realism in raw units",
        "trainer/metrics/realism.py",
        "return (features - self._mean) / self._spread",
        "return features",
        "../metrics/test_realism.py",
    ),
    Named(
        "no autocast at all",
        f"{TRAINING}/training.py",
        "return torch.autocast(self.device.type, torch.bfloat16)",
        "return contextlib.nullcontext()",
        "test_training.py",
    ),
    Named(
        "distributed batch norm that keeps no statistics",
        "trainer/nets/layers.py",
        "running_mean.lerp_(mean, momentum)",
        "pass",
        "test_distributed.py",
    ),
)


class Finder(ast.NodeVisitor):
    """Collects a file's changes."""

    def __init__(self, path: str, source: bytes) -> None:
        self.path = path
        self.source = source
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.changes: list[Change] = []

    def add(self, node: Any, new: str) -> None:
        start = self.starts[node.lineno - 1] + node.col_offset
        end = self.starts[node.end_lineno - 1] + node.end_col_offset
        old = self.source[start:end].decode()
        self.changes.append(Change(self.path, node.lineno, old, new, start, end))

    def visit_Compare(self, node: ast.Compare) -> None:
        if len(node.ops) == 1:
            swapped = COMPARISONS[type(node.ops[0])]()
            self.add(node, f"({ast.unparse(ast.Compare(node.left, [swapped], node.comparators))})")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        other = ARITHMETIC.get(type(node.op))
        if other is not None and not isinstance(node.left, ast.Constant | ast.JoinedStr):
            self.add(node, f"({ast.unparse(ast.BinOp(node.left, other(), node.right))})")
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        self.add(node, f"({ast.unparse(ast.BoolOp(other, node.values))})")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not | ast.USub):
            self.add(node, f"({ast.unparse(node.operand)})")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self.add(node, repr(not node.value))
        elif isinstance(node.value, int | float):
            self.add(node, repr(node.value + 1))

    def visit_If(self, node: ast.If) -> None:
        self.add(node.test, f"(not ({ast.unparse(node.test)}))")
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.add(node.test, f"(not ({ast.unparse(node.test)}))")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.add(node, "pass")
            self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.add(node, "pass")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if isinstance(node.targets[0], ast.Attribute | ast.Subscript):
            self.add(node, "pass")
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(default)
        for statement in node.body:
            self.visit(statement)

    def visit_keyword(self, node: ast.keyword) -> None:
        """`frozen` and `strict` keep a programmer from a mistake; nothing else follows from them."""
        if node.arg not in ("frozen", "strict"):
            self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        """Its words are for people."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Words as well."""


def changes_of(path: str, source: bytes) -> list[Change]:
    finder = Finder(path, source)
    finder.visit(ast.parse(source))
    return finder.changes


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of the working tree that may be changed."""
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        files = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        ).stdout.splitlines()  # fmt: skip
        for name in filter(lambda name: (ROOT / name).is_file(), files):
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, Path(folder) / name)
        yield Path(folder)


def passes(tree: Path, tests: list[str], timeout: float) -> bool:
    """Whether the tests pass in the copy; a run that takes too long does not.

    In a fork: what takes seconds to import is in memory by then; our own modules are not.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setpgid(0, 0)
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(nothing, stream)
            os.chdir(tree)
            sys.path.insert(0, str(tree))
            os.environ["PYTHONPATH"] = str(tree)  # for processes that the tests start
            status = int(pytest.main(["-x", "-q", "-n", "0", "-p", "no:cacheprovider", *tests]))
        finally:
            os._exit(status)  # whatever happens: the copy is its parent's to remove
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def noticed(tree: Path, path: str, changed: bytes, tests: list[str], timeout: float) -> bool:
    """Whether the tests fail with the file changed, which is put back afterwards."""
    file = tree / path
    kept = file.read_bytes()
    file.write_bytes(changed)
    try:
        return not passes(tree, tests, timeout)
    finally:
        file.write_bytes(kept)


def mirrored(path: str) -> list[str]:
    """The tests of a module, where they lie."""
    module = Path(path)
    test = Path("tests") / module.parent / f"test_{module.name}"
    return [str(test)] if (ROOT / test).exists() else []


def print_named(package: str, timeout: float) -> bool:
    """The table of the named changes; whether each could be made and was noticed."""
    print("| change | its tests | noticed |\n|---|---|---|", flush=True)
    right = True
    with copied() as tree:
        for change in filter(lambda change: change.path.startswith(package), NAMED):
            folder = "" if change.tests.startswith("tests/") else "tests/trainer/training/"
            tests = os.path.normpath(f"{folder}{change.tests}")
            source = (tree / change.path).read_text(encoding="utf-8")
            if source.count(change.old) != 1:
                seen = f"**stale**: {change.path} does not hold what is changed, once"
            else:
                changed = source.replace(change.old, change.new).encode()
                seen = "yes" if noticed(tree, change.path, changed, [tests], timeout) else "**no**"
            right = right and seen == "yes"
            print(f"| {change.name} | `{tests}` | {seen} |", flush=True)
    return right


def print_modules(options: argparse.Namespace) -> None:
    survivors: list[Change] = []
    print("| module | changes | noticed | survived |\n|---|---:|---:|---:|", flush=True)
    with copied() as tree:
        for module in options.modules:
            path = module.replace(".", "/") + ".py"
            tests = [*mirrored(path), *options.tests]
            assert tests, f"{module} has no tests of its own: give --tests"
            assert passes(tree, tests, options.timeout), f"{', '.join(tests)} fail without any change"
            source = (tree / path).read_bytes()
            changes = changes_of(path, source)
            if options.sample:
                chosen = random.Random(options.seed).sample(changes, min(options.sample, len(changes)))
                changes = sorted(chosen, key=lambda change: change.start)
            left = []
            for change in changes:
                changed = source[: change.start] + change.new.encode() + source[change.end :]
                if not noticed(tree, path, changed, tests, options.timeout):
                    left.append(change)
                    print(f"survived: {change}", file=sys.stderr, flush=True)
            survivors += left
            count = len(changes)
            print(f"| {module} | {count} | {count - len(left)} | {len(left)} |", flush=True)
    print()
    for change in survivors:
        print(f"- {change}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("modules", nargs="*")
    parser.add_argument("--tests", nargs="+", default=[])
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=300.0)
    parser.add_argument("--named", nargs="?", const="", metavar="PACKAGE")
    options = parser.parse_args()
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ.pop("PYTHONPATH", None)
    sys.dont_write_bytecode = True
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    for slow in SLOW:
        importlib.import_module(slow)

    if options.named is None:
        print_modules(options)
    elif not print_named(options.named, options.timeout):
        sys.exit(1)


if __name__ == "__main__":
    main()
