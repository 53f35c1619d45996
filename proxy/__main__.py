"""``python -m proxy``: the gateway on one port."""

from __future__ import annotations

import sys

from proxy.output import claim
from proxy.settings import read_settings
from tallygate.schemas import ConfigurationError


def main() -> int:
    """Read the settings, start LiteLLM behind the gateway, serve until SIGTERM; the exit code."""
    try:
        settings = read_settings()
    except ConfigurationError as error:
        print(f"the gateway can't start:\n{error}", file=sys.stderr)  # noqa: T201 - for whoever started it
        return 2
    stdout, _ = claim()

    # Only now, so that nothing that these import can print to the real stdout.
    from proxy.auth import Authenticator
    from proxy.breaker import Breaker
    from proxy.certificates import Certificates
    from proxy.exchange import Emitter
    from proxy.gateway import Gateway
    from proxy.identity import Identities
    from proxy.limits.gate import Gate
    from proxy.litellm_app import estimate, load, new_master_key
    from proxy.server import serve

    master_key = new_master_key()
    litellm = load(settings.catalogue, master_key, settings.callback_fault, settings.vertex)
    emitter = Emitter(stdout, settings.clock, settings.catalogue, estimate, settings.project_id)
    breaker = Breaker()
    gate = Gate(
        settings.database,
        settings.clock,
        instance=emitter.stream_id,
        concurrency=settings.concurrency,
        tenant_share=settings.tenant_share_percent / 100,
        breaker=breaker,
    )
    identities = Identities(
        Certificates(settings.iam_certificates_url),
        settings.clock,
        audiences=settings.iam_audiences,
        enforced=settings.iam_enforced,
    )
    gateway = Gateway(
        litellm=litellm,
        master_key=master_key,
        catalogue=settings.catalogue,
        authenticator=Authenticator(
            settings.database,
            settings.clock,
            identities=identities,
            fresh_seconds=settings.key_cache_seconds,
            breaker=breaker,
        ),
        gate=gate,
        emitter=emitter,
        max_body_bytes=settings.max_body_bytes,
    )
    came_up = serve(
        gateway,
        host=settings.host,
        port=settings.port,
        grace_seconds=settings.grace_seconds,
        flush=gate.close,
    )
    return 0 if came_up else 1


if __name__ == "__main__":
    sys.exit(main())
