"""``python -m delivery``: the steps of a pipeline, one command each.

Exit codes: 0 right, 1 wrong, 2 could not run.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from delivery.configuration import check_configuration
from delivery.environments import REPOSITORY, environment
from delivery.errors import DeliveryError
from delivery.planning import apply_plan, find_drift, make_plan
from delivery.promotion import copy_artifacts, promote
from delivery.release import make_release
from delivery.smoke.command import smoke_environment, smoke_own_sandbox, smoke_sandbox

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)

WORK: Final = Path("build/release")
PLANS: Final = Path("build/plan")
DRIFT: Final = Path("build/drift")
ARTIFACTS: Final = Path("build/artifacts")
PROMOTION: Final = Path("build/promotion")

Env = Annotated[str, typer.Option("--env", help="dev, staging or prod.")]
Labels = Annotated[list[str] | None, typer.Option(help="A label of the pull request; give it once for each.")]
Root = Annotated[Path, typer.Option(help="The checkout to work on.")]


@app.command()
def release(
    env: Env,
    publish: Annotated[bool, typer.Option(help="Upload the archive, build and push the image.")] = False,
    keep_image: Annotated[bool, typer.Option(help="Build no image: the recorded one stays.")] = False,
    base_image: Annotated[
        str | None, typer.Option(help="The image's base by digest; else what the Dockerfile's tag means now.")
    ] = None,
    root: Root = REPOSITORY,
) -> None:
    """Build what is deployed from the commit that is checked out, and record it in the release file."""
    target = environment(env, root=root)
    made = make_release(
        target, root, root / WORK, publish=publish, keep_image=keep_image, base_image=base_image
    )
    print(f"commit   {made.commit.id}")
    print(f"archive  {made.archive.relative_to(root)}  sha256 {made.release.archive_sha256}")
    print(f"image    {made.release.image_digest}  ({made.image_note})")
    print(f"bills    {WORK}/functions.cdx.json  {WORK}/proxy.cdx.json")
    print(f"recorded {target.release_file.relative_to(root)}: commit it with a pull request")


@app.command("check")
def check(env: Env, root: Root = REPOSITORY) -> None:
    """Check an environment's release file, catalogue and plans."""
    check_configuration(environment(env, root=root))
    print(f"{env}: the release file, catalogue.json and plans.json can be used")


@app.command()
def plan(env: Env, label: Labels = None, root: Root = REPOSITORY) -> None:
    """Plan an environment, judge the plan, save both with a comment for reviewers."""
    folder = root / PLANS / env
    saved = make_plan(environment(env, root=root), root, folder, label or [])
    print(f"saved in {saved.folder}")


@app.command("apply")
def apply_saved(env: Env, label: Labels = None, root: Root = REPOSITORY) -> None:
    """Apply the saved plan, unless it is stale or not allowed."""
    apply_plan(environment(env, root=root), root, root / PLANS / env, label or [])


@app.command()
def drift(env: Env, root: Root = REPOSITORY) -> None:
    """Look for differences between an environment and its files; exit code 1 when there are some."""
    folder = root / DRIFT / env
    report = find_drift(environment(env, root=root), root, folder)
    if report is None:
        print(f"{env} is what its files say")
        return
    (folder / "report.md").write_text(report)
    raise DeliveryError(report)


@app.command("promote")
def promote_files(
    env: Annotated[str, typer.Option("--env", help="Environment to promote from.")], root: Root = REPOSITORY
) -> None:
    """Copy an environment's release file, catalogue and plans to the next environment's folder."""
    promotion = promote(environment(env, root=root), root)
    folder = root / PROMOTION
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "message.md").write_text(promotion.message())
    print(promotion.message())


@app.command("copy-artifacts")
def copy_named_artifacts(env: Env, root: Root = REPOSITORY) -> None:
    """Copy the artifacts that an environment's release file names from the environment before."""
    release_there = copy_artifacts(environment(env, root=root), root, root / ARTIFACTS)
    print(f"{env} has {release_there.archive_object} and {release_there.image_digest}")


@app.command()
def smoke(
    env: Annotated[str, typer.Option("--env", help="dev, staging or prod; without it, a sandbox.")] = "",
    sandbox: Annotated[
        Path | None, typer.Option(help="Folder of a running sandbox; without it, one is started.")
    ] = None,
    root: Root = REPOSITORY,
) -> None:
    """Ask a gateway for everything once, from health to a forged webhook."""
    if env:
        results = smoke_environment(environment(env, root=root))
    elif sandbox is not None:
        results = smoke_sandbox(sandbox.resolve())
    else:
        results = smoke_own_sandbox()
    wrong = [result for result in results if result.outcome == "failed"]
    if wrong:
        raise DeliveryError(f"{len(wrong)} of {len(results)} checks failed: see above")
    print(f"{len(results)} checks, nothing failed")


def main() -> None:
    """Run a command and exit."""
    try:
        app()
    except DeliveryError as error:
        print("\n".join(error.problems), file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
