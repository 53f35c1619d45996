"""One provider double and one gateway for all tests of the proxy: LiteLLM takes seconds to start."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import httpx
import openai
import pytest

from tests.support.gateway import Instance, Site, site, tenant


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "soak: long; runs only when asked for by -m soak")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long tests run when they are asked for."""
    if "soak" in config.option.markexpr:
        return
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.skip(reason="long: make soak"))


@pytest.fixture(scope="session")
def provider_site(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("gateway")) as made:
        made.add(tenant("acme"))
        yield made


@pytest.fixture(scope="session")
def gateway(provider_site: Site) -> Iterator[Instance]:
    with provider_site.gateway() as instance:
        yield instance


@pytest.fixture
def openai_client(gateway: Instance, provider_site: Site) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        api_key=provider_site.keys["acme"], base_url=f"{gateway.url}/v1", max_retries=0, timeout=30
    ) as client:
        yield client


@pytest.fixture
def anthropic_client(gateway: Instance, provider_site: Site) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        api_key=provider_site.keys["acme"], base_url=gateway.url, max_retries=0, timeout=30
    ) as client:
        yield client


@pytest.fixture
def http(gateway: Instance, provider_site: Site) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {provider_site.keys['acme']}"}
    with httpx.Client(base_url=gateway.url, headers=headers, timeout=30) as client:
        yield client
