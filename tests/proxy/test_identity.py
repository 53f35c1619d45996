"""Identity tokens: Google's, for us, of now, and of a service account that is bound to a tenant."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from google.auth import crypt, jwt

from proxy.auth import Authenticator
from proxy.certificates import Certificates, CertificatesUnavailableError
from proxy.errors import ApiError
from proxy.identity import SIGNATURE_REMOVED, Identities
from tallygate.appdb.sqlite import SQLiteDatabase
from tallygate.clock import SystemClock
from tallygate.tenants import bind_service_account, issue_key, list_keys, put_tenant, revoke_key
from tests.support.gateway import tenant

AUDIENCE: Final = "https://gateway.example.com"
ADDRESS: Final = "agent@acme-project.iam.gserviceaccount.com"


@dataclass
class Signer:
    """A key of Google's, or of somebody else's."""

    key_id: str
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))

    def certificate(self) -> str:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(self.key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM).decode()

    def token(self, **changes: Any) -> str:
        """A token; a change to None removes a claim."""
        now = int(time.time())
        claims = {
            "iss": "https://accounts.google.com",
            "aud": AUDIENCE,
            "email": ADDRESS,
            "email_verified": True,
            "iat": now,
            "exp": now + 3600,
        } | changes
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        signer = crypt.RSASigner.from_string(pem, self.key_id)
        token: bytes = jwt.encode(signer, {k: v for k, v in claims.items() if v is not None})
        return token.decode()

    def stripped(self, **changes: Any) -> str:
        """The same as Cloud Run hands it on."""
        return self.token(**changes).rpartition(".")[0] + "." + SIGNATURE_REMOVED


@dataclass
class CertificateServer:
    """Serves certificates on loopback, and counts how often it is asked."""

    certificates: dict[str, str]
    max_age: int = 3600
    asked: int = 0
    up: bool = True
    url: str = ""


@pytest.fixture(scope="module")
def google() -> Signer:
    return Signer("google-1")


@pytest.fixture(scope="module")
def stranger() -> Signer:
    return Signer("google-1")


@pytest.fixture
def served(google: Signer) -> Iterator[CertificateServer]:
    state = CertificateServer({google.key_id: google.certificate()})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked += 1
            body = json.dumps(state.certificates).encode()
            self.send_response(200 if state.up else 503)
            self.send_header("cache-control", f"public, max-age={state.max_age}, must-revalidate")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/certs"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Door:
    """An authenticator with two tenants behind it."""

    database: SQLiteDatabase
    url: str
    key: str

    def ask(self, headers: dict[str, str], *, enforced: bool = False, audiences: bool = True) -> str:
        """The tenant, or status and code of the refusal."""
        return asyncio.run(self._ask(headers, enforced, audiences))

    async def _ask(self, headers: dict[str, str], enforced: bool, audiences: bool) -> str:
        clock = SystemClock()
        identities = Identities(
            Certificates(self.url), clock, audiences=(AUDIENCE,) if audiences else (), enforced=enforced
        )
        authenticator = Authenticator(self.database, clock, identities=identities, fresh_seconds=30)
        raw = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
        try:
            return (await authenticator.authenticate(raw)).tenant.tenant_id
        except ApiError as error:
            return f"{error.status} {error.code}"


@pytest.fixture
def door(tmp_path: Path, served: CertificateServer) -> Iterator[Door]:
    database = SQLiteDatabase(tmp_path / "app.sqlite")
    now = datetime.now(UTC)
    put_tenant(database, tenant("acme"))
    put_tenant(database, tenant("other"))
    bind_service_account(database, "acme", ADDRESS, now=now)
    yield Door(database, served.url, issue_key(database, "other", label="test", now=now).secret)
    database.close()


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def beside(token: str, key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", "x-serverless-authorization": f"Bearer {token}"}


def test_a_service_account_calls_for_its_tenant(door: Door, google: Signer) -> None:
    assert door.ask(bearer(google.token())) == "acme"
    assert door.ask({"x-serverless-authorization": f"bearer {google.token()}"}) == "acme"
    assert door.ask(bearer(google.token(email=ADDRESS.upper()))) == "acme"


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "https://another.example.com"},
        {"aud": None},
        {"aud": [AUDIENCE]},
        {"iss": "https://accounts.example.com"},
        {"iss": None},
        {"email_verified": False},
        {"email_verified": "true"},
        {"email_verified": None},
        {"email": None},
        {"email": ""},
        {"email": 5},
        {"email": "nobody@acme-project.iam.gserviceaccount.com"},
        {"exp": timedelta(minutes=-10)},
        {"iat": timedelta(minutes=10)},
        {"exp": None},
        {"iat": None},
        {"exp": "tomorrow"},
    ],
    ids=str,
)
@pytest.mark.parametrize("enforced", [False, True])
def test_a_token_that_is_not_for_us_or_not_of_now_is_refused(
    door: Door, google: Signer, changes: dict[str, Any], enforced: bool
) -> None:
    """A timedelta stands for a moment of the test's run."""
    claims = {
        name: int(time.time() + value.total_seconds()) if isinstance(value, timedelta) else value
        for name, value in changes.items()
    }
    token = google.stripped(**claims) if enforced else google.token(**claims)

    assert door.ask(bearer(token), enforced=enforced) == "401 invalid_key"


def test_a_token_signed_by_another_is_refused(door: Door, stranger: Signer) -> None:
    """Also under the key id of a certificate of Google's."""
    assert door.ask(bearer(stranger.token())) == "401 invalid_key"
    assert door.ask(bearer(stranger.token()), enforced=True) == "401 invalid_key"
    assert door.ask(bearer(Signer("unknown").token())) == "401 invalid_key"


@pytest.mark.parametrize(
    "token",
    ["a.b.c", "..", "e30.e30.", "\xff.\xff.\xff", "W10.W10.W10", "e30.e30.e30", "x" * 9000 + ".y.z"],
)
@pytest.mark.parametrize("end", ["", SIGNATURE_REMOVED])
@pytest.mark.parametrize("enforced", [False, True])
def test_what_only_looks_like_a_token_is_refused(door: Door, token: str, end: str, enforced: bool) -> None:
    whole = token if not end else token.rpartition(".")[0] + "." + end

    assert door.ask(bearer(whole), enforced=enforced) == "401 invalid_key"


def test_a_deeply_nested_token_is_refused(door: Door) -> None:
    import base64

    deep = base64.urlsafe_b64encode(b"[" * 5000).decode().rstrip("=")

    assert door.ask(bearer(f"{deep}.{deep}.{SIGNATURE_REMOVED}"), enforced=True) == "401 invalid_key"


def test_an_unsigned_token_is_believed_only_behind_the_platforms_check(door: Door, google: Signer) -> None:
    """With the flag off anybody could have written it: 401, also beside a key that is right."""
    stripped = google.stripped()

    assert door.ask(bearer(stripped)) == "401 invalid_key"
    assert door.ask(beside(stripped, door.key)) == "401 invalid_key"
    assert door.ask(bearer(stripped), enforced=True) == "acme"


def test_behind_the_platforms_check_every_audience_that_it_let_in_will_do(door: Door, google: Signer) -> None:
    """Cloud Run gives a service two addresses and takes tokens for either; ``modules/stack`` names none."""
    token = google.stripped(aud="https://tallygate-proxy-123456789012.europe-west1.run.app")

    assert door.ask(bearer(token), enforced=True, audiences=False) == "acme"
    assert door.ask(bearer(token), enforced=False, audiences=False) == "401 invalid_key"


def test_beside_a_key_the_key_names_the_tenant(door: Door, google: Signer) -> None:
    assert door.ask(beside(google.stripped(), door.key), enforced=True) == "other"
    assert door.ask(beside(google.token(), door.key)) == "other"
    assert door.ask(beside(google.stripped(), "tg_wrong"), enforced=True) == "401 invalid_key"


def test_any_caller_that_the_platform_let_in_may_use_a_key(door: Door, google: Signer) -> None:
    """Who may invoke the service is IAM's to say; which tenant pays is the key's."""
    unbound = google.stripped(email="someone@example.com")

    assert door.ask(beside(unbound, door.key), enforced=True) == "other"


def test_behind_the_platforms_check_a_request_without_a_token_is_refused(door: Door) -> None:
    """It did not come that way: the check is not on, whatever the setting says."""
    assert door.ask(bearer(door.key), enforced=True) == "401 invalid_key"


def test_without_an_audience_no_token_is_verified_here(door: Door, google: Signer) -> None:
    """A token for any other service of Google's customers would else open this one."""
    assert door.ask(bearer(google.token()), audiences=False) == "401 invalid_key"
    assert door.ask(bearer(google.token()), audiences=False, enforced=True) == "401 invalid_key"
    assert door.ask(bearer(google.stripped()), audiences=False, enforced=True) == "acme"


def test_a_binding_is_listed_and_revoked_like_a_key(door: Door, google: Signer) -> None:
    (binding,) = list_keys(door.database, "acme")
    assert binding.label == ADDRESS

    revoke_key(door.database, binding, at=datetime.now(UTC))

    assert door.ask(bearer(google.token())) == "401 invalid_key"


def test_without_certificates_a_token_is_refused_for_now(
    door: Door, served: CertificateServer, google: Signer
) -> None:
    served.up = False

    assert door.ask(bearer(google.token())) == "503 identity_unavailable"
    assert door.ask(bearer(door.key)) == "other"


def test_certificates_are_fetched_once_while_they_are_valid(served: CertificateServer) -> None:
    async def body() -> None:
        seconds = [0.0]
        certificates = Certificates(served.url, monotonic=lambda: seconds[0])

        await asyncio.gather(*(certificates.for_key("google-1") for _ in range(20)))
        for seconds[0] in (59.0, 3599.0):
            await certificates.for_key("google-1")
        assert served.asked == 1

        seconds[0] = 3601.0
        await certificates.for_key("google-1")
        assert served.asked == 2

    asyncio.run(body())


def test_made_up_key_ids_cause_one_fetch_a_minute(served: CertificateServer, google: Signer) -> None:
    async def body() -> None:
        seconds = [0.0]
        certificates = Certificates(served.url, monotonic=lambda: seconds[0])
        for number in range(50):
            await certificates.for_key(f"made-up-{number}")
        assert served.asked == 1

        served.certificates["google-2"] = google.certificate()
        seconds[0] = 61.0
        assert "google-2" in await certificates.for_key("google-2")
        assert served.asked == 2

    asyncio.run(body())


def test_old_certificates_are_used_for_a_day_while_no_new_ones_come(served: CertificateServer) -> None:
    async def body() -> None:
        seconds = [0.0]
        certificates = Certificates(served.url, monotonic=lambda: seconds[0])
        await certificates.for_key("google-1")
        served.up = False

        seconds[0] = 3600.0 + 24 * 3600 - 1
        assert "google-1" in await certificates.for_key("google-1")
        seconds[0] = 3600.0 + 24 * 3600 + 100
        with pytest.raises(CertificatesUnavailableError):
            await certificates.for_key("google-1")

    asyncio.run(body())


def test_certificates_that_do_not_come_are_not_asked_for_by_every_token(served: CertificateServer) -> None:
    async def body() -> None:
        seconds = [0.0]
        certificates = Certificates(served.url, monotonic=lambda: seconds[0])
        served.up = False
        for _ in range(20):
            with pytest.raises(CertificatesUnavailableError):
                await certificates.for_key("google-1")
        assert served.asked == 1

        served.up = True
        seconds[0] = 6.0
        assert "google-1" in await certificates.for_key("google-1")

    asyncio.run(body())
