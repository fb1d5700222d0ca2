"""How rewards, money and events look as JSON; money is in minor units: 100 is one euro."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from incentives import digest, endpoints, events, replay, signing
from incentives.endpoints import LONGEST_URL
from incentives.models import (
    BadgeAward,
    Campaign,
    Delivery,
    Event,
    Match,
    RewardApplication,
    SigningKey,
    WebhookEndpoint,
)
from incentives.selectors import Badge, BoostStanding, CampaignName, MatchStanding, Money, Rewards, Standing, Told
from mask_social import clock
from moderation import pagination
from moderation.serializers import StrictSerializer


class EvidenceSerializer(serializers.Serializer[Any]):
    measured = serializers.IntegerField(help_text="what the rule counts, when the badge was awarded")
    threshold = serializers.IntegerField()
    post_ids = serializers.ListField(child=serializers.CharField(), help_text="the posts that reach the threshold")


class BadgeSerializer(serializers.Serializer[Badge]):
    rule = serializers.CharField()
    title = serializers.CharField()
    description = serializers.CharField()
    series = serializers.CharField(help_text="badges of one series are levels of one; empty: it stands alone")
    level = serializers.IntegerField(help_text="1 to 5")
    status = serializers.ChoiceField(BadgeAward.Status.choices)
    awarded_at = serializers.DateTimeField()
    changed_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True, help_text="null: for good")
    post_id = serializers.CharField(
        allow_null=True, help_text="the post that tipped the scale; null: given by hand, or the post is erased"
    )
    evidence = EvidenceSerializer()
    verify_url = serializers.CharField(
        help_text="the public page, to be shown anywhere; a path where no MASK_SOCIAL_PUBLIC_URL is set"
    )
    credential_url = serializers.CharField(help_text="the signed Open Badges 3.0 credential")
    image_url = serializers.CharField(help_text="the picture (SVG) with the credential baked in")


class BoostSerializer(serializers.Serializer[BoostStanding]):
    factor = serializers.FloatField()
    factor_now = serializers.FloatField(help_text="what is left of it at this moment")
    half_life_seconds = serializers.IntegerField()
    starts_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField()


class CampaignNameSerializer(serializers.Serializer[CampaignName]):
    id = serializers.CharField()
    name = serializers.CharField()
    sponsor = serializers.CharField()


class MatchSerializer(serializers.Serializer[MatchStanding]):
    id = serializers.CharField()
    campaign = CampaignNameSerializer()
    amount_minor = serializers.IntegerField()
    currency = serializers.CharField(help_text="ISO 4217")
    status = serializers.ChoiceField(Match.Status.choices)


class ToldSerializer(serializers.Serializer[Told]):
    reason = serializers.ChoiceField(RewardApplication.Reason.choices)
    text = serializers.CharField(help_text="why, in words fit for the author")


class RewardsSerializer(serializers.Serializer[Rewards]):
    counts = serializers.BooleanField(help_text="whether the post counts for its author: masked, standing, no repeat")
    badges = BadgeSerializer(many=True, help_text="the author's badges that this post earned")
    boost = BoostSerializer(allow_null=True)
    match = MatchSerializer(allow_null=True)
    donation = ToldSerializer(help_text="what was matched, or why nothing was")
    event_ids = serializers.ListField(child=serializers.CharField())


class MoneySerializer(serializers.Serializer[Money]):
    amount_minor = serializers.IntegerField()
    currency = serializers.CharField(help_text="ISO 4217")


class StandingSerializer(serializers.Serializer[Standing]):
    id = serializers.CharField(help_text="the platform's own id of the author")
    masked_posts = serializers.IntegerField()
    distinct_days = serializers.IntegerField(help_text="days with a post that counts, in the author's time zone")
    badges = BadgeSerializer(many=True, help_text="those the author holds now")
    matched = MoneySerializer(many=True, help_text="reserved and settled, by currency")


class CampaignSerializer(serializers.ModelSerializer[Campaign]):
    sponsor = serializers.CharField(source="sponsor.name", read_only=True)
    settled_minor = serializers.IntegerField(read_only=True, help_text="paid for good, less what was refunded")
    reserved_minor = serializers.SerializerMethodField()
    left_minor = serializers.SerializerMethodField()

    class Meta:
        model = Campaign
        fields = (
            *("id", "name", "sponsor", "cause", "status", "currency", "amount_minor", "cap_per_author_per_day"),
            *("budget_minor", "committed_minor", "reserved_minor", "settled_minor", "left_minor"),
            *("starts_at", "ends_at", "time_zone", "regions"),
        )
        read_only_fields = fields
        extra_kwargs = {
            "committed_minor": {"help_text": "reserved and settled together"},
            "budget_minor": {"help_text": "in minor units: 100 is one euro"},
        }

    def get_reserved_minor(self, campaign: Campaign) -> int:
        """Return what is promised and may still be taken back."""
        settled: int = campaign.settled_minor  # type: ignore[attr-defined]  # selectors.with_settled adds it
        return campaign.committed_minor - settled

    def get_left_minor(self, campaign: Campaign) -> int:
        """Return what no post was promised."""
        return campaign.budget_minor - campaign.committed_minor


class SubjectSerializer(serializers.Serializer[Any]):
    type = serializers.ChoiceField(Event.SubjectType.choices)
    id = serializers.CharField()


class EventSerializer(serializers.Serializer[Event]):
    """An event, told here exactly as by webhook."""

    id = serializers.CharField()
    type = serializers.ChoiceField(Event.Type.choices)
    timestamp = serializers.DateTimeField()
    subject = SubjectSerializer()
    sequence = serializers.IntegerField(help_text="counts the events of the subject from 1, without a gap")
    causation_id = serializers.CharField(help_text="what set it off; the same for all that followed from one thing")
    data = serializers.DictField()  # type: ignore[assignment]  # a field, which the metaclass takes off the class

    def to_representation(self, instance: Event) -> dict[str, Any]:
        """Return the bytes' content that a webhook carries."""
        return events.representation(instance)


class WrittenField(serializers.DateTimeField):
    """A time, letter by letter as events tell it."""

    def to_representation(self, value: Any) -> str:
        """Write it."""
        return events.written(value)


class BucketSerializer(serializers.Serializer[digest.Bucket]):
    name = serializers.CharField(help_text="what the SHA-256 of the posts' ids begins with; empty: there is one bucket")
    count = serializers.IntegerField()
    digest = serializers.CharField(help_text="SHA-256 of its lines; docs/webhooks.md says how they are made")


class DigestSerializer(serializers.Serializer[digest.Digest]):
    as_of = WrittenField(help_text="boosts that have ended by then are left out")
    cursor = serializers.SerializerMethodField(help_text="of the last event that it rests on; null: there is none")
    count = serializers.IntegerField()
    buckets = BucketSerializer(many=True)

    def get_cursor(self, found: digest.Digest) -> str | None:
        """Return it as the list of events gives it out as `next`."""
        return None if found.cursor is None else pagination.encode(found.cursor)


class ActiveBoostSerializer(serializers.Serializer[digest.ActiveBoost]):
    post_id = serializers.CharField()
    factor = serializers.FloatField()
    half_life_seconds = serializers.IntegerField()
    starts_at = WrittenField()
    ends_at = WrittenField()
    line = serializers.CharField(help_text="what is digested")


class EndpointSerializer(serializers.ModelSerializer[WebhookEndpoint]):
    url = serializers.CharField(read_only=True)  # as it was given: more than RFC 3986 has letters for

    class Meta:
        model = WebhookEndpoint
        fields: tuple[str, ...] = (
            "id",
            "url",
            "event_types",
            "status",
            "disabled_at",
            "disabled_reason",
            "failing_since",
            "paused_until",
            "public_key",
            "created_at",
        )
        read_only_fields = fields
        extra_kwargs = {
            "failing_since": {"help_text": "since when nothing arrived"},
            "paused_until": {"help_text": "it answered 429: nothing is sent before"},
        }

    # No choice: it is empty while the endpoint is active.
    disabled_reason = serializers.CharField(
        read_only=True, help_text="owner, gone (it answered 410) or failing; empty while it is active"
    )
    public_key = serializers.SerializerMethodField(help_text="verifies the Ed25519 signatures (v1a)")

    def get_public_key(self, endpoint: WebhookEndpoint) -> str:
        """Return `whpk_…`."""
        return next(key.public_key for key in endpoint.signing_keys.all() if key.public_key and key.expires_at is None)


class EndpointSecretSerializer(EndpointSerializer):
    secret = serializers.SerializerMethodField(help_text="signs the webhooks (v1); shown this once")

    class Meta(EndpointSerializer.Meta):
        fields = (*EndpointSerializer.Meta.fields, "secret")
        read_only_fields = fields

    def get_secret(self, endpoint: WebhookEndpoint) -> str:
        """Return `whsec_…`."""
        return signing.key_in_use(endpoint, SigningKey.Scheme.HMAC).secret


class EndpointRequestSerializer(StrictSerializer):
    # No URLField: it refuses hosts of one label, which private networks have.
    url = serializers.CharField(max_length=LONGEST_URL)
    event_types = serializers.ListField(
        child=serializers.ChoiceField(Event.Type.choices), required=False, help_text="none or empty: every type"
    )


class EndpointChangeSerializer(EndpointRequestSerializer):
    url = serializers.CharField(max_length=LONGEST_URL, required=False)
    status = serializers.ChoiceField(WebhookEndpoint.Status.choices, required=False)


class SigningKeySerializer(serializers.ModelSerializer[SigningKey]):
    class Meta:
        model = SigningKey
        fields = ("scheme", "public_key", "created_at", "expires_at")
        read_only_fields = fields
        extra_kwargs = {
            "public_key": {"help_text": "of v1a; empty for the shared secret"},
            "expires_at": {"help_text": "until when a former key signs too; null: in use"},
        }


class RotationRequestSerializer(StrictSerializer):
    scheme = serializers.ChoiceField(
        SigningKey.Scheme.choices, default=SigningKey.Scheme.HMAC, help_text="v1: the shared secret; v1a: the key pair"
    )
    expire_old_now = serializers.BooleanField(
        default=False, help_text="the secret leaked: from now on nothing is signed by it"
    )


class RotatedSerializer(serializers.ModelSerializer[SigningKey]):
    secret = serializers.SerializerMethodField(help_text="the new one of v1; shown this once; null for v1a")

    class Meta:
        model = SigningKey
        fields = ("scheme", "secret", "public_key", "created_at")
        read_only_fields = fields

    def get_secret(self, key: SigningKey) -> str | None:
        """Return `whsec_…`; a private key leaves us never."""
        return key.secret if key.scheme == SigningKey.Scheme.HMAC else None


class ReplayRequestSerializer(StrictSerializer):
    event_id = serializers.CharField(max_length=64, required=False, help_text="one event, whatever became of it")
    since = serializers.DateTimeField(required=False, help_text="or those that happened since then")
    until = serializers.DateTimeField(required=False, help_text="and before then; not given: up to now")
    only = serializers.ChoiceField(
        replay.Only.choices,
        required=False,
        help_text="failed (if not given): those given up; missing: also those never addressed to the endpoint; all",
    )
    after = serializers.CharField(required=False, help_text="the `next` of the call before")

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        """Take one event or a range."""
        if ("event_id" in data) == ("since" in data) or ("event_id" in data and len(data) > 1):
            raise serializers.ValidationError("Give either event_id alone or since.", code="event_or_since")
        return data


class ReplayedSerializer(serializers.Serializer[Any]):
    deliveries = serializers.IntegerField(help_text="how many are on their way")
    next = serializers.CharField(allow_null=True, help_text="there are more: ask again with it as `after`")


class DeliverySerializer(serializers.ModelSerializer[Delivery]):
    event_id = serializers.CharField(source="event.id")
    event_type = serializers.ChoiceField(Event.Type.choices, source="event.type")
    attempts = serializers.SerializerMethodField()
    last_status_code = serializers.SerializerMethodField()
    last_error = serializers.SerializerMethodField()

    class Meta:
        model = Delivery
        fields = (
            *("id", "event_id", "event_type", "status", "attempts", "last_status_code", "last_error"),
            *("due_at", "created_at", "delivered_at"),
        )
        read_only_fields = fields

    def get_attempts(self, delivery: Delivery) -> int:
        """Return how often it was tried."""
        return len(delivery.attempts.all())

    def get_last_status_code(self, delivery: Delivery) -> int | None:
        """Return what was answered last."""
        attempts = list(delivery.attempts.all())
        return attempts[-1].status_code if attempts else None

    def get_last_error(self, delivery: Delivery) -> str:
        """Return why the last attempt failed."""
        attempts = list(delivery.attempts.all())
        return attempts[-1].error if attempts else ""


class EndpointDetailSerializer(EndpointSerializer):
    signing_keys = serializers.SerializerMethodField(help_text="those that sign now")
    deliveries = serializers.SerializerMethodField(help_text="the youngest")

    class Meta(EndpointSerializer.Meta):
        fields = (*EndpointSerializer.Meta.fields, "signing_keys", "deliveries")
        read_only_fields = fields

    @extend_schema_field(SigningKeySerializer(many=True))
    def get_signing_keys(self, endpoint: WebhookEndpoint) -> Any:
        """Return the keys without what signs."""
        return SigningKeySerializer(signing.valid_keys(endpoint, clock.now()), many=True).data

    @extend_schema_field(DeliverySerializer(many=True))
    def get_deliveries(self, endpoint: WebhookEndpoint) -> Any:
        """Return what was sent lately."""
        return DeliverySerializer(endpoints.recent_deliveries(endpoint), many=True).data


class TestSentSerializer(serializers.Serializer[Event]):
    event_id = serializers.CharField(source="id")
