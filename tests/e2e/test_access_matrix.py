"""Every method that the server registers, with every kind of credential.

The methods come from the running server's own description of its planes, what
is expected of each from the table of scopes. A service that is added is tested
without a line here.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from spacelink import AdminClient, SpaceLinkClient, Token
from spacelink.errors import from_rpc_error
from spacelink.v1.session_pb2 import Role
from spacelink_server.access.rules import AUTHENTICATED, PUBLIC, Access
from spacelink_server.access.sessions import SCOPES
from spacelink_server.services.scopes import RULES
from tests.conftest import ServerProcess
from tests.e2e.calls import DEADLINE
from tests.leaks import WATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.message import Message

    from spacelink_server.access.rules import Rule

Status: TypeAlias = tuple[str, str]
Expect: TypeAlias = "Callable[[Method], Status]"

LET_IN = ("", "")
# What an empty request of a method that anybody may call is answered with.
_ANSWERS_OF_PUBLIC_METHODS = {("UNAUTHENTICATED", "INVALID_LOGIN")}
_REFUSING = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
# No answer of a method to a request that is wrong.
_FAILING = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
ROLES = {Role.Name(role).removeprefix("ROLE_").lower(): scope for role, scope in SCOPES.items()}
PASSWORD = WATCH.text("a password of the access matrix")


@dataclass(frozen=True)
class Method:
    """A method of a plane."""

    name: str
    address: str
    descriptor: MethodDescriptor

    @property
    def rule(self) -> Rule:
        return RULES[self.name]

    def request(self, tenant_id: str = "") -> Message:
        """Make a request that does nothing: empty but for the tenant, and for a device that ends a watch."""
        request: Any = GetMessageClass(self.descriptor.input_type)()
        fields = self.descriptor.input_type.fields_by_name
        if "tenant_id" in fields:
            request.tenant_id = tenant_id
        if "device_ids" in fields:
            request.device_ids.append("?")
        return request  # type: ignore[no-any-return]


def methods_of(address: str) -> list[Method]:
    """Ask a plane for all of its methods."""
    with grpc.insecure_channel(address) as channel:
        (listed,) = reflect(channel, ServerReflectionRequest(list_services=""))
        services = [service.name for service in listed.list_services_response.service]
        files = files_of(channel, [ServerReflectionRequest(file_containing_symbol=name) for name in services])
        while missing := {name for file in files.values() for name in file.dependency} - files.keys():
            files |= files_of(channel, [ServerReflectionRequest(file_by_filename=name) for name in missing])
    pool = DescriptorPool()
    _add(pool, files, files)
    return [
        Method(f"/{service}/{method.name}", address, method)
        for service in services
        for method in pool.FindServiceByName(service).methods
    ]


def files_of(
    channel: grpc.Channel, requests: Iterable[ServerReflectionRequest]
) -> dict[str, FileDescriptorProto]:
    answers = (
        answer.file_descriptor_response.file_descriptor_proto for answer in reflect(channel, *requests)
    )
    return {file.name: file for data in answers for file in map(FileDescriptorProto.FromString, data)}


def reflect(channel: grpc.Channel, *requests: ServerReflectionRequest) -> Iterator[Any]:
    for answer in ServerReflectionStub(channel).ServerReflectionInfo(iter(requests), timeout=DEADLINE):
        assert not answer.HasField("error_response"), answer
        yield answer


def _add(pool: DescriptorPool, files: dict[str, FileDescriptorProto], names: Iterable[str]) -> None:
    """Add files, what they import first."""
    for name in names:
        _add(pool, files, files[name].dependency)
        pool.Add(files[name])


@pytest.fixture(scope="module")
def methods(server: ServerProcess) -> list[Method]:
    found = [*methods_of(server.address), *methods_of(server.admin_address)]
    assert len(found) > 35
    return found


def test_every_method_has_a_rule_and_every_rule_a_method(methods: list[Method]) -> None:
    assert {method.name for method in methods} == set(RULES)


def test_no_method_is_on_both_planes_but_health_and_reflection(methods: list[Method]) -> None:
    names = [method.name for method in methods]
    twice = {name for name in names if names.count(name) > 1}
    assert twice
    assert all(name.startswith("/grpc.") for name in twice)


@dataclass(frozen=True)
class Credentials:
    """Tokens of the tenant acme, each of another kind."""

    full: Token
    expired: Token
    banned: Token
    sessions: dict[str, Token]


@pytest.fixture(scope="module")
def credentials(server: ServerProcess) -> Iterator[Credentials]:
    with AdminClient(server.admin_address, token=server.token) as admin:
        for tenant_id in ("acme", "globex"):
            admin.create_tenant(tenant_id)
        full = admin.mint_token(tenant_id="acme", scope="*:*")
        banned = full.attenuate(label="banned")
        admin.ban_token(token=banned)
        sessions = {}
        for role in ROLES:
            admin.create_user(role, PASSWORD, role, tenant_id="acme")
            with SpaceLinkClient(server.address) as client:
                sessions[role] = client.create_session(role, PASSWORD, tenant_id="acme").token
        yield Credentials(
            full, full.attenuate(expires=datetime.now(UTC) - timedelta(hours=1)), banned, sessions
        )


def call(
    channel: grpc.Channel, method: Method, token: Token | None, tenant_id: str = "", header: str = ""
) -> Status:
    """Call a method; give code and reason where the caller is refused, or LET_IN."""
    metadata = []
    if token is not None:
        metadata.append(("authorization", f"Bearer {WATCH.token(str(token))}"))
    if header:
        metadata.append(("x-spacelink-tenant", header))
    data = method.request(tenant_id).SerializeToString()
    try:
        _retry(lambda: _answer(channel, method, data, metadata))
    except grpc.RpcError as error:
        if error.code() in _FAILING:
            raise
        if error.code() not in _REFUSING:
            return LET_IN
        status = error.code().name, from_rpc_error(error).reason
        return LET_IN if method.rule is PUBLIC and status in _ANSWERS_OF_PUBLIC_METHODS else status
    return LET_IN


def _retry(work: Callable[[], None]) -> None:
    """Do it again while the server cannot serve: a very busy one may be late to read the bans."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            return work()
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def _answer(channel: Any, method: Method, data: bytes, metadata: Any) -> None:
    """Wait for the first answer, or for the end."""
    options = {"metadata": metadata, "timeout": DEADLINE}
    shape = method.descriptor
    if shape.client_streaming:
        next(channel.stream_stream(method.name)(iter([data]), **options), None)
    elif shape.server_streaming:
        next(channel.unary_stream(method.name)(data, **options), None)
    else:
        channel.unary_unary(method.name)(data, **options)


def check(methods: list[Method], expected: Expect, *args: Any, **options: Any) -> None:
    """Call all methods, and compare with what a function of the method expects."""
    with ExitStack() as stack:
        addresses = {method.address for method in methods}
        channels = {each: stack.enter_context(grpc.insecure_channel(each)) for each in addresses}
        found = {method.name: call(channels[method.address], method, *args, **options) for method in methods}
    assert found == {method.name: expected(method) for method in methods}


def unless_public(status: Status) -> Expect:
    return lambda method: LET_IN if method.rule is PUBLIC else status


def test_without_a_credential(methods: list[Method]) -> None:
    check(methods, unless_public(("UNAUTHENTICATED", "CREDENTIAL_REQUIRED")), None)


def test_with_an_expired_token(methods: list[Method], credentials: Credentials) -> None:
    check(methods, unless_public(("UNAUTHENTICATED", "TOKEN_EXPIRED")), credentials.expired)


def test_with_a_banned_token(methods: list[Method], credentials: Credentials) -> None:
    check(methods, unless_public(("PERMISSION_DENIED", "TOKEN_BANNED")), credentials.banned)


@pytest.mark.parametrize("tenant_id", ["globex", "default", "no-such-tenant", "*"])
def test_about_a_tenant_that_the_token_is_not_of(
    methods: list[Method], credentials: Credentials, tenant_id: str
) -> None:
    """Whether it is named in the request or in the metadata, and whether there is such a tenant."""
    expected = unless_public(("PERMISSION_DENIED", "WRONG_TENANT"))
    check(methods, expected, credentials.full, header=tenant_id)
    naming = [method for method in methods if "tenant_id" in method.descriptor.input_type.fields_by_name]
    assert len(naming) > 10
    check(naming, expected, credentials.full, tenant_id=tenant_id)


def test_about_the_tenant_of_the_token(methods: list[Method], credentials: Credentials) -> None:
    """Only what is about all tenants is not for a tenant's token."""
    check(methods, lambda method: expected_of(method, "*:*"), credentials.full, header="acme")


@pytest.mark.parametrize("role", ROLES)
def test_each_role(methods: list[Method], credentials: Credentials, role: str) -> None:
    check(methods, lambda method: expected_of(method, ROLES[role]), credentials.sessions[role])


def expected_of(method: Method, scopes: str) -> Status:
    """Tell what a token of a tenant with these scopes gets."""
    rule = method.rule
    if not isinstance(rule, Access):
        assert rule in (PUBLIC, AUTHENTICATED)
        return LET_IN
    if rule.tenant(method.request()) not in ("", "acme"):
        return "PERMISSION_DENIED", "WRONG_TENANT"
    if not any(_covers(scope, rule.scope) for scope in scopes.split()):
        return "PERMISSION_DENIED", "SCOPE_DENIED"
    return LET_IN


def _covers(granted: str, asked: str) -> bool:
    return all(
        mine in ("*", wanted) for mine, wanted in zip(granted.split(":"), asked.split(":"), strict=True)
    )


def test_the_operator_is_let_in_everywhere(methods: list[Method], server: ServerProcess) -> None:
    check(methods, lambda _: LET_IN, Token.parse(server.token))
