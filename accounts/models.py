"""Users, organizations and API keys. `organizations` and `api_keys` write these rows; allauth writes users."""

import uuid
from datetime import datetime
from typing import ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone


class UserManager(BaseUserManager["User"]):
    """Users, identified by e-mail address."""

    def create_user(self, email: str, password: str | None = None, **fields: object) -> "User":
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save()
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: object) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email__iexact=username)


class ReadyMail(models.TextChoices):
    """When a person gets a mail about a transcript that is ready."""

    NEVER = "never", "Never"
    LONG = "long", "When it took more than 10 minutes"
    ALWAYS = "always", "Always"


class User(AbstractBaseUser, PermissionsMixin):
    """A person who signs in with an e-mail address. Written by allauth."""

    email = models.EmailField(unique=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    date_joined = models.DateTimeField(default=timezone.now)
    # The person has deleted the account, which is inactive since then: when the clock takes its address and all else
    # that says who they were, and when it has. Written by `account_deletion`.
    delete_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True)
    # Mails about transcripts of what the person uploaded. Written by `account_pages`.
    ready_mail = models.CharField(
        max_length=10, choices=ReadyMail, default=ReadyMail.LONG, db_default=ReadyMail.LONG.value
    )
    has_failed_mail = models.BooleanField(default=True, db_default=True)
    # Mails about the money of organizations that the person owns. Written there too.
    has_paid_mail = models.BooleanField(default=True, db_default=True)
    has_refunded_mail = models.BooleanField(default=True, db_default=True)
    has_disputed_mail = models.BooleanField(default=True, db_default=True)

    objects = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="one_user_per_email")]
        indexes = [
            models.Index(
                fields=["delete_at"],
                condition=models.Q(delete_at__isnull=False, deleted_at__isnull=True),
                name="accounts_to_delete",
            ),
        ]

    def __str__(self) -> str:
        return self.shown_name

    @property
    def shown_name(self) -> str:
        """What others see of the person: the address, as long as there is the account."""
        return "a former member" if self.deleted_at else self.email


class Organization(models.Model):
    """A tenant: it owns the balance, the keys, the media and the jobs. Written by `organizations`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)
    is_personal = models.BooleanField(default=False)
    # Set when an owner has verified an e-mail address. Until then, requests with its keys get 403.
    verified_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    # An owner has deleted it: its keys and pages are shut since then. Null: it is open. Written by `closures`, as the
    # next two.
    closed_at = models.DateTimeField(null=True, blank=True)
    # From then on the clock deletes what it has. An owner can open it again before.
    delete_at = models.DateTimeField(null=True, blank=True)
    # When the last of it was deleted. The row stays without a name, because its payments and its ledger do.
    deleted_at = models.DateTimeField(null=True, blank=True)
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, through="Membership", related_name="organizations")

    class Meta:
        indexes = [
            models.Index(
                fields=["delete_at"],
                condition=models.Q(delete_at__isnull=False, deleted_at__isnull=True),
                name="organizations_to_delete",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(closed_at__isnull=True, delete_at__isnull=True, deleted_at__isnull=True)
                | models.Q(closed_at__isnull=False, delete_at__isnull=False),
                name="organization_is_closed_before_it_is_deleted",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_verified(self) -> bool:
        return self.verified_at is not None

    @property
    def is_closed(self) -> bool:
        """Whether an owner has deleted it. Nobody works in it then, by page or by key."""
        return self.closed_at is not None


class Role(models.TextChoices):
    """The rights of a member; each role has those of the ones below it too.

    Member: uploads recordings, reads, downloads and deletes transcripts, asks models in the playground.
    Admin: makes and revokes API keys, sees usage, pays, sets limits and alerts, manages webhooks, invites and removes
    members and other admins. Owner: makes and removes owners.
    Pages ask for a role by `access.require_role`; programs have the rights of their key.
    """

    OWNER = "owner", "Owner"
    ADMIN = "admin", "Admin"
    MEMBER = "member", "Member"

    @property
    def rank(self) -> int:
        return {"member": 0, "admin": 1, "owner": 2}[self.value]


class MembershipQuerySet(models.QuerySet["Membership"]):
    """Memberships, reached through their organization or their person."""

    def of_open_organizations(self) -> "MembershipQuerySet":
        """Leave out those of closed organizations, in which nobody works."""
        return self.filter(organization__closed_at__isnull=True)


class Membership(models.Model):
    """A person's membership in an organization. Written by `organizations`."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.MEMBER)
    created_at = models.DateTimeField(default=timezone.now)

    objects = MembershipQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "user"], name="one_membership_per_person"),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="membership_role_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} is {self.role} of {self.organization_id}"

    def may(self, role: Role) -> bool:
        """Tell whether this member has at least the rights of the role."""
        return Role(self.role).rank >= role.rank

    @property
    def may_pay(self) -> bool:
        """Whether pages lead this member to paying. The pages of payments ask for the same role."""
        return self.may(Role.ADMIN)


class Invitation(models.Model):
    """An invitation to join, mailed as a link. Only the hash of its token is stored. Written by `organizations`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField()
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.MEMBER)
    token_sha256 = models.CharField(max_length=64, unique=True)
    invited_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "organization",
                Lower("email"),
                condition=models.Q(accepted_at__isnull=True),
                name="one_open_invitation_per_email",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.email} to {self.organization_id}"

    def is_open(self, *, now: datetime) -> bool:
        return self.accepted_at is None and self.expires_at > now


class Scope(models.TextChoices):
    """What a key may do. Which address needs which: `gate.key_scopes`, docs/decisions/0051."""

    TRANSCRIBE = "transcribe", "Transcribe"
    CHAT = "chat", "Chat"
    READ = "read", "Read"
    BILLING = "billing", "Billing"
    ADMIN = "admin", "Admin"


# What every key could do before keys had scopes.
DEFAULT_SCOPES = (Scope.TRANSCRIBE, Scope.CHAT, Scope.READ, Scope.BILLING)
DEFAULT_SCOPES_TEXT = " ".join(DEFAULT_SCOPES)


# What a token may do: it lies in a browser, so it neither pays nor manages.
TOKEN_SCOPES = (Scope.TRANSCRIBE, Scope.CHAT, Scope.READ)


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    """Keys, reached through their organization, and tokens, through their key."""

    def of(self, organization: Organization) -> "ApiKeyQuerySet":
        """The keys of an organization. Its tokens are not among them."""
        return self.filter(organization=organization, parent=None)

    def tokens_of(self, key: "ApiKey") -> "ApiKeyQuerySet":
        return self.filter(parent=key)

    def live(self, *, now: datetime) -> "ApiKeyQuerySet":
        return self.filter(revoked_at__isnull=True).exclude(expires_at__lte=now)


class ApiKey(models.Model):
    """The credential of a program. Only its SHA-256 is stored: the key is random, so no slow hash is needed.

    One with a parent is a token: a credential for a browser, which ends soon and never has more than its parent
    (docs/decisions/0059). Written by `api_keys`; tokens by `tokens` too.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=80)
    # The first characters of the key, so that people recognize it.
    prefix = models.CharField(max_length=20)
    sha256 = models.CharField(max_length=64, unique=True)
    # The secret of before the last rotation, until its overlap ends. Both null: it no longer works.
    previous_sha256 = models.CharField(max_length=64, unique=True, null=True, blank=True)
    previous_until = models.DateTimeField(null=True, blank=True)
    # Of a key that another key made: who made that one.
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    monthly_limit_micros = models.BigIntegerField(null=True, blank=True)
    # A higher limit that counts until a moment. Both null: there is none.
    raised_limit_micros = models.BigIntegerField(null=True, blank=True)
    raised_until = models.DateTimeField(null=True, blank=True)
    # Names of Scope, in its order, separated by blanks. A text and no table: every request reads it with the key.
    scopes = models.CharField(max_length=100, default=DEFAULT_SCOPES_TEXT, db_default=DEFAULT_SCOPES_TEXT)
    # Of a token: the key that made it. The monthly limit of a token is what it may spend in its whole life.
    parent = models.ForeignKey(
        "self", on_delete=models.CASCADE, null=True, blank=True, related_name="tokens", db_index=False
    )

    objects = ApiKeyQuerySet.as_manager()
    # Whether a request named this key by the secret of before its rotation. Not stored.
    is_by_previous_secret = False

    class Meta:
        indexes = [
            models.Index(fields=["organization", "-created_at"], name="api_key_list"),
            models.Index(fields=["parent", "-created_at"], condition=models.Q(parent__isnull=False), name="token_list"),
            # For operators, whom customers tell how a key begins.
            models.Index(fields=["prefix"], name="api_keys_by_prefix"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(parent__isnull=True)
                | models.Q(expires_at__isnull=False, monthly_limit_micros__isnull=False, raised_until__isnull=True)
                & ~models.Q(scopes__contains=Scope.ADMIN.value)
                & ~models.Q(scopes__contains=Scope.BILLING.value),
                name="token_is_bounded",
            ),
            models.CheckConstraint(
                condition=models.Q(monthly_limit_micros__isnull=True) | models.Q(monthly_limit_micros__gte=0),
                name="api_key_limit_is_not_negative",
            ),
            models.CheckConstraint(condition=~models.Q(scopes=""), name="api_key_has_a_scope"),
            models.CheckConstraint(
                condition=models.Q(previous_sha256__isnull=True, previous_until__isnull=True)
                | models.Q(previous_sha256__isnull=False, previous_until__isnull=False),
                name="api_key_previous_secret_ends",
            ),
            models.CheckConstraint(
                condition=models.Q(raised_limit_micros__isnull=True, raised_until__isnull=True)
                | models.Q(
                    raised_limit_micros__isnull=False,
                    raised_until__isnull=False,
                    raised_limit_micros__gte=models.F("monthly_limit_micros"),
                ),
                name="api_key_raise_ends",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def is_token(self) -> bool:
        return self.parent_id is not None

    @property
    def charged_key_id(self) -> uuid.UUID:
        """The key to which work is charged: this one, or of a token the one that made it."""
        return self.parent_id or self.pk

    @property
    def charged_key(self) -> "ApiKey":
        """The row of that key."""
        return self.parent or self

    def is_live(self, *, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)

    def limit_at(self, now: datetime) -> int | None:
        """The monthly limit that counts at a moment: the raised one while it lasts. None: no limit."""
        return self.raised_limit_micros if self.is_raised(now=now) else self.monthly_limit_micros

    def is_raised(self, *, now: datetime) -> bool:
        return self.raised_until is not None and self.raised_until > now

    @property
    def scope_set(self) -> frozenset[Scope]:
        """The scopes of this key. An unknown name, of a newer version of the site, is none.

        The secret of before a rotation manages nothing: a thief of it could rotate the key again and keep it.
        """
        scopes = frozenset(scope for scope in Scope if scope in self.scopes.split())
        return scopes - {Scope.ADMIN} if self.is_by_previous_secret else scopes


class IdempotencyRecord(models.Model):
    """The response to a request with an Idempotency-Key, or a mark that the request still runs.

    Written by `gate.idempotency`.
    """

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=timezone.now)
    # What the first request has started ("job:<uuid>"), if its response comes later. A retry waits for it.
    reference = models.CharField(max_length=100, blank=True)
    # Null while the first request runs.
    response_status = models.PositiveSmallIntegerField(null=True)
    response_body = models.JSONField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organization", "key"], name="one_answer_per_idempotency_key")]
        indexes = [models.Index(fields=["created_at"], name="idempotency_age")]

    def __str__(self) -> str:
        return f"{self.key} of {self.organization_id}"


class ApiRequestQuerySet(models.QuerySet["ApiRequest"]):
    """Logged requests, reached through their organization."""

    def of(self, organization: Organization) -> "ApiRequestQuerySet":
        return self.filter(organization=organization)


class ApiRequest(models.Model):
    """One request that a program sent with a key of the organization, answered or refused.

    Written by `gate.request_log`, which deletes it after 30 days.
    """

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+", db_index=False)
    created_at = models.DateTimeField()
    # No foreign keys: rows are written a second later, when a token or a job may be gone, and one must not fail all.
    key_id = models.UUIDField()
    token_id = models.UUIDField(null=True)
    job_id = models.UUIDField(null=True)
    method = models.CharField(max_length=10)
    # Without the query, which may have a customer's text in it.
    path = models.CharField(max_length=200)
    status = models.PositiveSmallIntegerField()
    # Of an error: its type, as the native API names it.
    error_type = models.CharField(max_length=64, blank=True)
    request_id = models.CharField(max_length=128)
    # Until the answer began.
    duration_ms = models.PositiveIntegerField()

    objects = ApiRequestQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["organization", "-id"], name="request_list"),
            models.Index(fields=["organization", "key_id", "-id"], name="requests_of_key"),
            models.Index(fields=["organization", "-id"], condition=models.Q(status__gte=400), name="failed_requests"),
            models.Index(fields=["organization", "request_id"], name="requests_by_id"),
            models.Index(
                fields=["organization", "job_id"], condition=models.Q(job_id__isnull=False), name="requests_of_job"
            ),
            models.Index(fields=["created_at"], name="request_age"),
        ]

    def __str__(self) -> str:
        return f"{self.method} {self.path}: {self.status}"


class AuditAction(models.TextChoices):
    """What is written down, and how a page says it: "alice@example.com revoked a key: production"."""

    ORGANIZATION_CREATED = "organization.created", "created the organization"
    ORGANIZATION_RENAMED = "organization.renamed", "renamed the organization"
    ORGANIZATION_DELETED = "organization.deleted", "deleted the organization"
    ORGANIZATION_RESTORED = "organization.restored", "restored the organization"
    MEMBER_INVITED = "member.invited", "invited a member"
    INVITATION_WITHDRAWN = "invitation.withdrawn", "withdrew an invitation"
    MEMBER_JOINED = "member.joined", "joined"
    ROLE_CHANGED = "member.role_changed", "changed a role"
    MEMBER_REMOVED = "member.removed", "removed a member"
    MEMBER_LEFT = "member.left", "left"
    KEY_CREATED = "key.created", "created a key"
    KEY_CHANGED = "key.changed", "changed a key"
    KEY_LIMITED = "key.limited", "set the limit of a key"
    KEY_ROTATED = "key.rotated", "rotated a key"
    KEY_REVOKED = "key.revoked", "revoked a key"
    LIMIT_SET = "limit.set", "set the monthly limit"
    TOP_UP_ON = "top_up.on", "set automatic top-up"
    TOP_UP_OFF = "top_up.off", "turned automatic top-up off"
    ENDPOINT_CREATED = "endpoint.created", "added a webhook"
    ENDPOINT_CHANGED = "endpoint.changed", "changed a webhook"
    ENDPOINT_ON = "endpoint.on", "turned a webhook on"
    ENDPOINT_OFF = "endpoint.off", "turned a webhook off"
    ENDPOINT_DELETED = "endpoint.deleted", "deleted a webhook"
    LINK_CREATED = "link.created", "shared a transcript"
    LINK_REVOKED = "link.revoked", "ended a shared link"
    DATA_EXPORTED = "data.exported", "downloaded everything"
    SIGN_IN_ADDED = "sign_in.added", "added a way to sign in"
    SIGN_IN_REMOVED = "sign_in.removed", "removed a way to sign in"


class AuditEntryQuerySet(models.QuerySet["AuditEntry"]):
    """Written acts, reached through their organization."""

    def of(self, organization: Organization) -> "AuditEntryQuerySet":
        return self.filter(organization=organization)


class AuditEntry(models.Model):
    """One act in an organization: who did what to what. Written by `audit_log`, which deletes it after a year."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+", db_index=False)
    created_at = models.DateTimeField()
    # An AuditAction. Without choices, which would ask for a migration for each new one.
    action = models.CharField(max_length=40)
    subject = models.CharField(max_length=300, blank=True)
    # The address of somebody who was invited and has not joined. Then it is `person`.
    address = models.CharField(max_length=254, blank=True)
    # Whom it was done to, and which transcript. Not by name, because account and transcript may be deleted.
    person = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    job_id = models.UUIDField(null=True)
    # A person, else a key, else nobody: the site did it by itself.
    user = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    key_id = models.UUIDField(null=True)
    # The operator of the service who did it instead.
    operator = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    request_id = models.CharField(max_length=128, blank=True)

    objects = AuditEntryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "audit entries"
        indexes = [
            models.Index(fields=["organization", "-id"], name="audit_list"),
            models.Index(fields=["created_at"], name="audit_age"),
            models.Index(fields=["address"], condition=~models.Q(address=""), name="audit_addresses"),
        ]

    def __str__(self) -> str:
        return f"{self.told}: {self.subject}"

    @property
    def told(self) -> str:
        """What was done, in words. An action of a later version is told by its name."""
        return AuditAction(self.action).label if self.action in AuditAction.values else self.action


class WaitingMail(models.Model):
    """A mail that no mail server has taken yet. Written by `mail_queue` only, which deletes it when it is sent."""

    created_at = models.DateTimeField()
    # No process sends it before: one may have claimed it.
    due_at = models.DateTimeField(db_index=True)
    # How often the server did not take it; `mail_queue` says what counts. failure: type and codes of the last error.
    attempts = models.IntegerField(default=0, db_default=0)
    failure = models.TextField(blank=True, default="", db_default="")
    sender = models.TextField()
    recipients = models.JSONField()
    # The whole message in base64, encrypted (`accounts.encryption`): it may carry a link that signs in.
    content = models.TextField()

    def __str__(self) -> str:
        return f"mail of {self.created_at:%Y-%m-%d %H:%M}"
