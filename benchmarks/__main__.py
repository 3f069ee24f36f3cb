"""All sections, or some: ``python -m benchmarks [--only accept,settle] [--quick | --long] [--add] [--write]``."""

import argparse
import importlib
import signal
import sys
import traceback
from pathlib import Path
from typing import Final, NoReturn

from . import report, results
from .bench import Bench
from .procs import ROOT

__all__ = ["Bench"]

SECTIONS: Final = ("accept", "settle", "peers", "growth", "shape", "soak", "aws", "flame")
OUT: Final = ROOT / "build" / "bench" / "results.json"
FOLDER: Final = ROOT / "build" / "bench" / "run"


def main() -> int:
    """0: all sections ran. 1: one of them broke; what the others found is there all the same."""
    args = _arguments()
    if not sys.platform.startswith("linux"):
        print("The benchmarks read CPU time and memory from /proc: they need Linux.", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _ended)
    bench = Bench(args.folder, args.scale, out=args.out)
    if args.add and args.out.exists():
        bench.keep(results.load(args.out), args.only)
    broken = 0
    for name in args.only:
        bench.section = name
        try:
            section = importlib.import_module(f"benchmarks.{name}")
        except ModuleNotFoundError as error:
            bench.note(f"not run: {error}")
            continue
        bench.begin(name)
        try:
            section.run(bench)
        except Exception as error:  # noqa: BLE001 - one section that breaks must not take the others' figures with it
            traceback.print_exc()
            bench.note(f"BROKEN, its figures mean nothing: {(str(error) or type(error).__name__).splitlines()[0][:500]}")
            broken += 1
        bench.save()
    print()
    report.show(bench.result)
    print(f"\n{args.out} has it all.")
    if args.write and broken:
        print("Nothing is kept of a run that broke.", file=sys.stderr)
    elif args.write:
        report.write(bench.result)
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", type=_names, default=list(SECTIONS), help=f"sections: {','.join(SECTIONS)}")
    parser.add_argument("--quick", dest="scale", action="store_const", const="quick", default="normal", help="minutes: a look")
    parser.add_argument("--long", dest="scale", action="store_const", const="long", help="hours: 10 million rows, a soak")
    parser.add_argument("--out", type=Path, default=OUT, help="where the results go, as JSON")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where stores are put: on the disk that is measured")
    parser.add_argument("--add", action="store_true", help="keep what that file has of other sections")
    parser.add_argument("--write", action="store_true", help="keep the results in benchmarks/results and write the docs")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in SECTIONS]:
        raise argparse.ArgumentTypeError(f"there is no section {', '.join(unknown)}: {', '.join(SECTIONS)}")
    return names


def _ended(*_: object) -> NoReturn:
    """SIGTERM ends the run as Ctrl-C does: whatever was started is stopped."""
    raise SystemExit(143)


if __name__ == "__main__":
    sys.exit(main())
