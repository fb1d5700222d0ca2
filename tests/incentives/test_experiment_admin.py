"""What staff see and do of the experiment: it is written down, started, read and ended, each by who may."""

import re
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from incentives import roles
from incentives.admin.experiments import ExperimentForm
from incentives.experiments import lifecycle, simulation, upkeep
from incentives.experiments.simulation import World
from incentives.models import Experiment, ExperimentSums, Exposure
from moderation.models import Author
from tests.incentives.builders import make_campaign, signed_in
from tests.incentives.experiment_rows import known_platform, make_experiment, make_posts, match, settle_down

pytestmark = pytest.mark.django_db

LIST = "/admin/incentives/experiment/"
WORLD = World(authors=120, holdout_percent=50, posts_per_author=3, masked_share=0.4, lift=2)


def page(experiment: Experiment, name: str = "change") -> str:
    return f"{LIST}{quote(experiment.pk)}/{name}/"


@pytest.fixture
def manager() -> Client:
    return signed_in(roles.PROGRAMME_MANAGER)


@pytest.fixture
def auditor() -> Client:
    return signed_in(roles.AUDITOR)


def with_people(world: World = WORLD, *, paid: bool = False) -> Experiment:
    """Run an experiment over the people of a world."""
    platform = known_platform()
    experiment = make_experiment(platform, salt="fixed", holdout_percent=world.holdout_percent)
    people = simulation.meet(world, 3)
    authors, held_out = settle_down(platform, people)
    masked = make_posts(authors, *simulation.live(people, held_out))
    if paid:
        match(make_campaign(), masked, 50)
    return experiment


def text_of(client: Client, address: str) -> str:
    """Return what a page says, without its tags."""
    answer = client.get(address)
    assert answer.status_code == 200
    return " ".join(re.sub(r"<[^>]*>", " ", answer.content.decode()).split())


def test_one_is_written_down_with_a_salt_of_its_own(manager: Client) -> None:
    for name in ("One", "Two"):
        answer = manager.post(f"{LIST}add/", {"name": name, "platform": "", "holdout_percent": "10"})
        assert answer.status_code == 302, answer.content

    one, two = Experiment.objects.order_by("pk")
    assert (one.name, one.platform, one.holdout_percent, one.status) == ("One", None, 10, "draft")
    assert len(one.salt) == 32 and one.salt != two.salt


@pytest.mark.parametrize("percent", ["0", "-1", "50.01", "10.123", "", "nan"])
def test_a_percentage_that_cannot_be_drawn_is_refused(manager: Client, percent: str) -> None:
    answer = manager.post(f"{LIST}add/", {"name": "One", "platform": "", "holdout_percent": percent})
    assert answer.status_code == 200
    assert not Experiment.objects.exists()


def test_it_starts_and_ends_once_that_is_confirmed(manager: Client) -> None:
    experiment = make_experiment(runs=False)

    for verb, status in (("start", "running"), ("end", "ended")):
        before = experiment.status
        assert "take me back" in text_of(manager, page(experiment, verb))
        experiment.refresh_from_db()
        assert experiment.status == before, "to look at the question changes nothing"

        answer = manager.post(page(experiment, verb), follow=True)

        assert f"is {status}" in answer.content.decode()
        experiment.refresh_from_db()
        assert experiment.status == status


@pytest.mark.parametrize(("runs", "verb", "says"), [(False, "end", "does not run"), (True, "start", "started before")])
def test_what_cannot_be_is_refused_with_a_reason(manager: Client, runs: bool, verb: str, says: str) -> None:
    experiment = make_experiment(runs=runs)
    answer = manager.post(page(experiment, verb), follow=True)
    assert says in answer.content.decode()
    assert Experiment.objects.get(pk=experiment.pk).status == experiment.status


def test_only_what_the_status_allows_is_offered(manager: Client) -> None:
    experiment = make_experiment(runs=False)

    def offered() -> set[str]:
        content = manager.get(page(experiment)).content.decode()
        return {verb for verb in ("start", "end") if page(experiment, verb) in content}

    assert offered() == {"start"}
    lifecycle.start(experiment, timezone.now())
    assert offered() == {"end"}
    lifecycle.end(experiment, timezone.now())
    assert offered() == set()


def test_percentage_and_platform_are_locked_from_the_start_on(manager: Client) -> None:
    experiment = make_experiment(runs=False)
    form = {"name": "Another name", "platform": "", "holdout_percent": "30"}
    assert manager.post(page(experiment), form).status_code == 302
    experiment.refresh_from_db()
    assert (experiment.name, experiment.holdout_percent) == ("Another name", 30)
    salt = experiment.salt
    lifecycle.start(experiment, timezone.now())

    assert b'name="holdout_percent"' not in manager.get(page(experiment)).content
    form = {"name": "A third", "platform": known_platform().pk, "holdout_percent": "40", "salt": "mine"}
    assert manager.post(page(experiment), form).status_code == 302

    experiment.refresh_from_db()
    assert (experiment.name, experiment.holdout_percent, experiment.platform) == ("A third", 30, None)
    assert experiment.salt == salt


@pytest.mark.django_db(transaction=True)
def test_one_that_is_started_while_its_form_is_saved_waits_for_it(
    manager: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = make_experiment(runs=False)
    real = ExperimentForm.clean_holdout_percent

    def start() -> None:
        try:
            lifecycle.start(experiment, timezone.now())
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:

        def start_meanwhile(form: ExperimentForm) -> float:
            starting.append(pool.submit(start))
            wait(starting, timeout=0.5)
            return real(form)

        starting: list[Future[None]] = []
        monkeypatch.setattr(ExperimentForm, "clean_holdout_percent", start_meanwhile)
        form = {"name": experiment.name, "platform": "", "holdout_percent": "30"}
        assert manager.post(page(experiment), form).status_code == 302
        starting[0].result(20)

    experiment.refresh_from_db()
    assert (experiment.status, experiment.holdout_percent) == ("running", 30)


def test_the_page_tells_the_lift_the_guardrails_and_the_cost(manager: Client) -> None:
    experiment = with_people(paid=True)

    said = text_of(manager, page(experiment))

    assert re.search(
        r"\+\d\.\d+ masked posts per author 95 % interval: \+\d\.\d+ to \+\d\.\d+ · relative \+\d+\.\d %", said
    )
    assert "nothing speaks against chance" in said
    assert "posts per author" in said and "no worse" in said
    assert "cannot say" in said
    assert "0.50 EUR (95 %: 0.50 EUR to 0.50 EUR)" in said
    content = manager.get(page(experiment)).content.decode()
    assert 'aria-label="the lift in masked posts per author: +' in content
    assert content.count('<svg class="ex-plot') == 2, "appeals and reviews have nothing to draw yet"


def test_without_a_lift_the_page_gives_a_reason_and_no_price(manager: Client) -> None:
    experiment = with_people(World(authors=80, holdout_percent=50, posts_per_author=2, lift=0), paid=True)
    said = text_of(manager, page(experiment))
    assert "there may be no additional masked post to pay for" in said
    assert "EUR" not in said


def test_few_authors_get_no_number(manager: Client) -> None:
    said = text_of(manager, page(make_experiment()))
    assert "Too few authors" in said
    assert "too few to tell whether that is chance" in said


def test_arms_of_the_wrong_size_raise_an_alarm(manager: Client) -> None:
    experiment = with_people(World(authors=120, holdout_percent=50, posts_per_author=2))
    assert b'role="alert"' not in manager.get(page(experiment)).content
    lost = Exposure.objects.filter(arm="holdout").values_list("author", flat=True)[:40]
    Author.objects.filter(pk__in=list(lost)).delete()

    manager.post(page(experiment, "add-up"))

    answer = manager.get(page(experiment)).content
    assert b'role="alert"' in answer
    assert b"do not trust the numbers" in answer


def test_it_is_added_up_when_asked_and_not_by_looking(manager: Client) -> None:
    experiment = with_people(World(authors=4))
    manager.get(page(experiment))
    first = ExperimentSums.objects.get()

    manager.get(page(experiment))
    assert ExperimentSums.objects.get().added_up_at == first.added_up_at
    assert manager.get(page(experiment, "add-up")).status_code == 405
    assert manager.post(page(experiment, "add-up")).status_code == 302
    assert ExperimentSums.objects.get().added_up_at > first.added_up_at


def test_the_pages_take_the_same_queries_however_much_there_is(manager: Client) -> None:
    def queries_of(address: str) -> int:
        manager.get(address)
        with CaptureQueriesContext(connection) as queries:
            assert manager.get(address).status_code == 200
        return len(queries)

    empty = make_experiment()
    counts = queries_of(LIST), queries_of(page(empty))
    lifecycle.end(empty, timezone.now())
    full = with_people(World(authors=50))
    upkeep.add_up(full, timezone.now())

    assert (queries_of(LIST), queries_of(page(full))) == (counts[0], counts[1] + 1)  # and its platform


def test_the_list_tells_the_lift(manager: Client) -> None:
    upkeep.add_up(with_people(), timezone.now())
    assert re.search(r"\+\d+\.\d % \(\+\d+\.\d % to \+\d+\.\d %\)", text_of(manager, LIST))


def test_an_auditor_reads_and_changes_nothing(auditor: Client) -> None:
    experiment = with_people(World(authors=4))
    said = text_of(auditor, page(experiment))
    assert "Guardrails" in said and "Add up now" not in said
    assert page(experiment, "end") not in auditor.get(page(experiment)).content.decode()
    for verb in ("start", "end", "add-up"):
        assert auditor.post(page(experiment, verb)).status_code == 403
    assert auditor.post(page(experiment), {"name": "Mine"}).status_code == 403
    assert auditor.get(f"{LIST}add/").status_code == 403
    experiment.refresh_from_db()
    assert experiment.status == "running"


@pytest.mark.parametrize("role", [roles.SPONSOR, roles.MODERATOR])
def test_sponsors_and_moderators_see_nothing_of_it(role: str) -> None:
    client, experiment = signed_in(role), make_experiment()
    for address in (LIST, page(experiment), page(experiment, "start"), page(experiment, "end")):
        assert client.get(address).status_code == 403
    assert "xperiment" not in text_of(client, "/admin/")


def test_only_a_draft_can_be_deleted(admin_client: Client) -> None:
    draft, running = make_experiment(runs=False), make_experiment()
    for experiment, status in ((draft, 302), (running, 403)):
        assert admin_client.post(page(experiment, "delete"), {"post": "yes"}).status_code == status
    data: dict[str, Any] = {"action": "delete_selected", "_selected_action": [running.pk], "post": "yes"}
    admin_client.post(LIST, data)
    assert list(Experiment.objects.values_list("pk", flat=True)) == [running.pk]
