"""Plans made and applied by Terraform itself, on its built-in provider and a state file."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from delivery.archive import build_archive
from delivery.environments import environment
from delivery.errors import CannotRunError, DeliveryError
from delivery.plan_policy import DELETE_LABEL
from delivery.planning import apply_plan, find_drift, make_plan
from delivery.promotion import copy_artifacts, promote
from delivery.release_file import Release, read_release
from delivery.saved_plan import SavedPlan
from tests.delivery.conftest import DIGEST, Buckets, Checkout, release, write_root


def planned(checkout: Checkout, name: str, *labels: str) -> SavedPlan:
    return make_plan(environment(name, root=checkout.root), checkout.root, folder(checkout, name), labels)


def apply(checkout: Checkout, name: str, *labels: str) -> None:
    apply_plan(environment(name, root=checkout.root), checkout.root, folder(checkout, name), labels)


def folder(checkout: Checkout, name: str) -> Path:
    return checkout.root / "build" / "plan" / name


def state(checkout: Checkout, name: str) -> dict[str, str]:
    content = json.loads((checkout.root.parent / f"{name}.tfstate").read_text())
    return {r["name"]: r["instances"][0]["attributes"]["input"]["value"] for r in content["resources"]}


def test_the_saved_plan_is_applied_and_nothing_is_left_to_do(site: Checkout) -> None:
    saved = planned(site, "dev")
    apply(site, "dev")

    assert saved.comment.read_text().startswith("### dev: 2 to create\n")
    assert saved.changes.read_text() == "terraform_data.archive\nterraform_data.service\n"
    assert state(site, "dev")["service"] == DIGEST
    assert find_drift(environment("dev", root=site.root), site.root, site.root / "build" / "drift") is None


def test_what_differs_from_the_files_is_drift(site: Checkout) -> None:
    planned(site, "dev")
    apply(site, "dev")
    release(
        site,
        "dev",
        replace(
            read_release(site.folder("dev") / "release.auto.tfvars.json"), image_digest="sha256:" + "cd" * 32
        ),
    )

    report = find_drift(environment("dev", root=site.root), site.root, site.root / "build" / "drift")

    assert report is not None
    assert "update `terraform_data.service`" in report


def test_a_plan_is_stale_when_its_files_have_changed_since(site: Checkout) -> None:
    planned(site, "dev")
    (site.root / "modules" / "README").write_text("changed\n")
    site.commit()

    with pytest.raises(DeliveryError, match="the saved plan is stale: modules changed since commit"):
        apply(site, "dev")

    assert not (site.root.parent / "dev.tfstate").exists()


def test_a_commit_beside_what_terraform_reads_does_not_make_a_plan_stale(site: Checkout) -> None:
    planned(site, "dev")
    (site.root / "proxy" / "new.py").write_text("")
    site.commit()

    apply(site, "dev")

    assert state(site, "dev")["service"] == DIGEST


def test_a_plan_is_stale_when_the_state_has_moved(site: Checkout) -> None:
    planned(site, "dev")
    target = environment("dev", root=site.root)
    subprocess.run(
        ["terraform", "apply", "-auto-approve", "-input=false", "-no-color"],
        cwd=target.folder, check=True, capture_output=True,
    )  # fmt: skip

    with pytest.raises(CannotRunError, match="the state has changed since the plan was made; plan again"):
        apply(site, "dev")


def test_a_plan_is_stale_when_it_is_old_of_another_environment_or_another_file(site: Checkout) -> None:
    saved = planned(site, "dev")
    dev, prod = (environment(name, root=site.root) for name in ("dev", "prod"))
    tomorrow = datetime.now(UTC) + timedelta(hours=25)

    saved.require_fresh(dev, site.root, now=datetime.now(UTC))
    with pytest.raises(DeliveryError, match="it is 25 h old, the limit is 24 h"):
        saved.require_fresh(dev, site.root, now=tomorrow)
    with pytest.raises(DeliveryError, match="a plan of dev, not of prod"):
        saved.require_fresh(prod, site.root, now=datetime.now(UTC))
    saved.plan.write_bytes(saved.plan.read_bytes() + b"x")
    with pytest.raises(DeliveryError, match="not the one that was made and reviewed"):
        saved.require_fresh(dev, site.root, now=datetime.now(UTC))


def test_prod_destroys_only_with_the_label_at_plan_and_at_apply(site: Checkout) -> None:
    planned(site, "prod")
    apply(site, "prod")
    write_root(site, "prod", "renamed")
    site.commit("Rename a resource")

    with pytest.raises(
        DeliveryError, match=f"terraform_data.archive: the plan would delete it.*{DELETE_LABEL}"
    ):
        planned(site, "prod")
    assert "**This plan will not be applied:**" in (folder(site, "prod") / "comment.md").read_text()
    with pytest.raises(DeliveryError, match=DELETE_LABEL):
        apply(site, "prod")
    assert "archive" in state(site, "prod")

    planned(site, "prod", DELETE_LABEL)
    apply(site, "prod", DELETE_LABEL)
    assert set(state(site, "prod")) == {"service", "renamed"}


def test_an_archive_that_is_not_what_its_hash_says_stops_the_apply(site: Checkout, buckets: Buckets) -> None:
    name = read_release(site.folder("dev") / "release.auto.tfvars.json").archive_object
    buckets.objects["example-dev-functions", name] = b"something else"
    planned(site, "dev")

    with pytest.raises(DeliveryError, match="it is not the archive that was reviewed"):
        apply(site, "dev")

    assert not (site.root.parent / "dev.tfstate").exists()


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("catalogue.json", '{"models": {"m": {}}}', r"catalogue\.json: \$\.models\.m"),
        ("plans.json", "{", r"plans\.json: is not JSON"),
        ("release.auto.tfvars.json", "[]", r"release\.auto\.tfvars\.json: must be"),
    ],
)
def test_a_file_that_cannot_be_used_stops_the_plan(
    file: str, text: str, problem: str, site: Checkout
) -> None:
    (site.folder("dev") / file).write_text(text)

    with pytest.raises(DeliveryError, match=problem):
        planned(site, "dev")


def test_a_right_that_the_pipeline_lacks_is_named_with_its_place(
    site: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Terraform's own words, as the provider gives them."""
    tools = site.root.parent / "tools"
    tools.mkdir()
    fake = tools / "terraform"
    fake.write_text('#!/bin/sh\necho "Error: googleapi: Error 403: Permission denied" >&2\nexit 1\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")

    with pytest.raises(CannotRunError, match="add it to the planner or the applier in terraform/bootstrap"):
        planned(site, "dev")


# --- promotion and its way back ---------------------------------------------------------------


def test_a_promotion_copies_the_three_files_and_a_revert_takes_it_back(
    site: Checkout, buckets: Buckets
) -> None:
    dev, staging = (environment(name, root=site.root) for name in ("dev", "staging"))
    first = read_release(dev.release_file)
    promote(dev, site.root)
    site.commit("Promote the first release")
    planned(site, "staging")
    apply(site, "staging")

    main = site.root / "functions" / "main.py"
    main.write_text(main.read_text() + "\n# second\n")
    site.commit()
    archive = build_archive(site.root)
    second = Release("sha256:" + "ef" * 32, archive.object_name, archive.sha256)
    buckets.objects["example-staging-functions", archive.object_name] = archive.content
    release(site, "dev", second)
    catalogue = json.loads((dev.folder / "catalogue.json").read_text())
    catalogue["models"]["gpt-4o-mini"]["timeout_seconds"] = 21
    (dev.folder / "catalogue.json").write_text(json.dumps(catalogue))
    site.commit("Release to dev")
    promotion = promote(dev, site.root)
    site.commit("Promote the second release")
    planned(site, "staging")
    apply(site, "staging")

    assert promotion.changed == ("release.auto.tfvars.json", "catalogue.json")
    assert second.image_digest in promotion.message()
    assert state(site, "staging")["service"] == second.image_digest

    site.git("revert", "--no-edit", "HEAD")
    planned(site, "staging")
    apply(site, "staging")  # the archive of the release before is still there

    assert read_release(staging.release_file) == first
    assert state(site, "staging")["service"] == first.image_digest


def test_only_what_was_merged_and_differs_is_promoted(site: Checkout) -> None:
    dev = environment("dev", root=site.root)
    promote(dev, site.root)
    site.commit()

    with pytest.raises(DeliveryError, match="staging has what dev has: there is nothing to promote"):
        promote(dev, site.root)
    plans = dev.folder / "plans.json"
    plans.write_text(plans.read_text() + "\n")
    with pytest.raises(DeliveryError, match="only what was merged is promoted"):
        promote(dev, site.root)
    with pytest.raises(CannotRunError, match="prod is the last environment"):
        promote(environment("prod", root=site.root), site.root)


def test_a_placeholder_is_not_promoted(site: Checkout) -> None:
    with pytest.raises(DeliveryError, match="still the placeholder"):
        promote(environment("staging", root=site.root), site.root)


def test_artifacts_are_copied_from_the_environment_before(
    site: Checkout, buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive; without docker the image is not, and the command says so instead of succeeding."""
    made = read_release(site.folder("dev") / "release.auto.tfvars.json")
    promote(environment("dev", root=site.root), site.root)
    site.commit()
    del buckets.objects["example-staging-functions", made.archive_object]
    monkeypatch.setattr("delivery.image.builder_problem", lambda: "docker is not on PATH")

    with pytest.raises(
        CannotRunError, match="the archive is copied, the image is not: docker is not on PATH"
    ):
        copy_artifacts(environment("staging", root=site.root), site.root, site.root / "build" / "artifacts")

    assert buckets.sha256("example-staging-functions", made.archive_object) == made.archive_sha256
    assert (site.root / "build" / "artifacts" / made.archive_object).exists()


def test_an_archive_that_was_tampered_with_is_not_copied(site: Checkout, buckets: Buckets) -> None:
    made = read_release(site.folder("dev") / "release.auto.tfvars.json")
    promote(environment("dev", root=site.root), site.root)
    site.commit()
    buckets.objects["example-dev-functions", made.archive_object] = b"tampered"
    del buckets.objects["example-staging-functions", made.archive_object]

    with pytest.raises(DeliveryError, match="not the archive that was reviewed"):
        copy_artifacts(environment("staging", root=site.root), site.root, site.root / "build" / "artifacts")

    assert ("example-staging-functions", made.archive_object) not in buckets.objects
