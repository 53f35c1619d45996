"""``python -m delivery``: the steps of a pipeline, one command each.

Exit codes: 0 right, 1 wrong, 2 could not run.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from delivery.environments import REPOSITORY, environment
from delivery.errors import DeliveryError
from delivery.release import make_release

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)

WORK: Final = Path("build/release")

Env = Annotated[str, typer.Option("--env", help="dev, staging or prod.")]
Root = Annotated[Path, typer.Option(help="The checkout to work on.")]


@app.command()
def release(
    env: Env,
    publish: Annotated[bool, typer.Option(help="Upload the archive, build and push the image.")] = False,
    root: Root = REPOSITORY,
) -> None:
    """Build what is deployed from the commit that is checked out, and record it in the release file."""
    target = environment(env, root=root)
    made = make_release(target, root, root / WORK, publish=publish)
    print(f"commit   {made.commit.id}")
    print(f"archive  {made.archive.relative_to(root)}  sha256 {made.release.archive_sha256}")
    print(f"image    {made.release.image_digest}  ({made.image_note})")
    print(f"bills    {WORK}/functions.cdx.json  {WORK}/proxy.cdx.json")
    print(f"recorded {target.release_file.relative_to(root)}: commit it with a pull request")


def main() -> None:
    """Run a command and exit."""
    try:
        app()
    except DeliveryError as error:
        print("\n".join(error.problems), file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
