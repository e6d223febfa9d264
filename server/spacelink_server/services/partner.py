"""PartnerService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spacelink_server.services._partner_keys import ApiKeyMethods
from spacelink_server.services._partner_onboarding import OnboardingMethods
from spacelink_server.services._partner_sandbox import SandboxMethods
from spacelink_server.services._partner_webhooks import WebhookMethods

if TYPE_CHECKING:
    from spacelink_server.access.control import AccessControl
    from spacelink_server.sandboxes.seeding import Seeder
    from spacelink_server.webhooks.sending import Sender
    from spacelink_server.webhooks.targets import Targets


class PartnerService(ApiKeyMethods, OnboardingMethods, SandboxMethods, WebhookMethods):
    """Takes partners in, and manages what their systems call with and are called by; see partner.proto."""

    def __init__(self, access: AccessControl, seeder: Seeder, targets: Targets, sender: Sender) -> None:
        ApiKeyMethods.__init__(self, access)
        OnboardingMethods.__init__(self, access)
        SandboxMethods.__init__(self, access, seeder)
        WebhookMethods.__init__(self, access, targets, sender)
