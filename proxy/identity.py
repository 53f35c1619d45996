"""Google-signed identity tokens: a service account calls instead of a key, or beside one.

Without the platform's invoker check a token's signature is verified here. With it
(``TALLYGATE_IAM_ENFORCED``), Cloud Run has verified the token and hands it on with its signature replaced;
such a token is believed only then, because without the check anybody could write one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.auth import exceptions, jwt

from proxy.certificates import Certificates, CertificatesUnavailableError
from proxy.errors import ApiError
from tallygate.clock import Clock

ISSUERS: Final = frozenset({"https://accounts.google.com", "accounts.google.com"})
SIGNATURE_REMOVED: Final = "SIGNATURE_REMOVED_BY_GOOGLE"
"""What Cloud Run puts in a verified token's signature."""
_SKEW_SECONDS: Final = 60
"""How far this machine's clock and Google's may be apart."""
_LONGEST_TOKEN: Final = 8 * 1024
_RETRY_AFTER_SECONDS: Final = 5
_MALFORMED: Final = (exceptions.GoogleAuthError, ValueError, TypeError, KeyError, RecursionError)
"""What google-auth raises for tokens that were never Google's."""


@dataclass(frozen=True, slots=True)
class Identities:
    """Checks identity tokens."""

    certificates: Certificates
    clock: Clock
    audiences: tuple[str, ...]
    """Of which a token must name one; none: tokens are taken only where the platform checks them."""
    enforced: bool
    """The platform's invoker check stands before this process."""

    async def service_account(self, token: str) -> str:
        """The e-mail address of the service account or user that a token speaks for.

        Raises:
            ApiError: 401 ``invalid_key`` for a token that is not Google's, not for us or not of now; 503
                ``identity_unavailable`` while that can't be found out.
        """
        stripped = token.rpartition(".")[2] == SIGNATURE_REMOVED
        if len(token) > _LONGEST_TOKEN or (stripped and not self.enforced):
            raise _refused()
        if not stripped and not self.audiences:
            raise _refused()
        try:
            claims = jwt.decode(token, verify=False) if stripped else await self._verified(token)
            self._check_time(claims)
        except _MALFORMED:
            raise _refused() from None
        return self._address(claims)

    async def _verified(self, token: str) -> Mapping[str, Any]:
        key_id = jwt.decode_header(token).get("kid")
        if not isinstance(key_id, str):
            raise _refused()
        try:
            certificates = await self.certificates.for_key(key_id)
        except CertificatesUnavailableError:
            raise ApiError(
                503,
                "identity_unavailable",
                "identity tokens can't be checked now: try again",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            ) from None
        claims: Mapping[str, Any] = jwt.decode(
            token,
            certs=certificates,
            audience=list(self.audiences),
            clock_skew_in_seconds=_SKEW_SECONDS,
        )
        return claims

    def _check_time(self, claims: Mapping[str, Any]) -> None:
        """By the clock that everything else here goes by; a token without times is none.

        Raises:
            ValueError, TypeError, KeyError: when the token is not of now.
        """
        now = self.clock.now().timestamp()
        if not claims["iat"] - _SKEW_SECONDS <= now <= claims["exp"] + _SKEW_SECONDS:
            raise ValueError("not of now")

    def _address(self, claims: Mapping[str, Any]) -> str:
        address = claims.get("email")
        right_audience = not self.audiences or claims.get("aud") in self.audiences
        if claims.get("iss") not in ISSUERS or not right_audience:
            raise _refused()
        if claims.get("email_verified") is not True or not isinstance(address, str) or not address:
            raise _refused()
        return address


def looks_like_token(credential: str) -> bool:
    """Whether a credential is a JSON Web Token, not a key: three parts."""
    return credential.count(".") == 2


def _refused() -> ApiError:
    """One text for every reason: what is wrong with a forged token is nobody's business."""
    return ApiError(
        401, "invalid_key", "the identity token is not valid here: check its audience, issuer and age"
    )
