"""One command from the photographs to the weights."""

import pytest

from ml.training import __main__ as everything
from ml.training import export, train_classifier, train_detector

Calls = list[tuple[str, list[str]]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Record the stages' command lines instead of running them; each must be one that the stage understands."""
    made: Calls = []

    def stands_for(name: str, status: int = 0) -> object:
        def run(arguments: list[str]) -> int:
            made.append((name, arguments))
            return status

        return run

    monkeypatch.setattr(train_detector, "main", stands_for("detector"))
    monkeypatch.setattr(train_classifier, "main", stands_for("classifier"))
    monkeypatch.setattr(export, "main", stands_for("export"))
    return made


def test_all_stages_run_in_order_with_options_they_know(calls: Calls) -> None:
    assert everything.main(["--minutes", "5", "--seed", "3", "--fresh", "--out", "new"]) == 0
    assert [name for name, _ in calls] == ["detector", "classifier", "classifier", "export"]
    detector = train_detector.parser().parse_args(calls[0][1])
    assert (detector.minutes, detector.seed, detector.fresh, str(detector.out)) == (5, 3, True, "new")
    classifier, refine = (train_classifier.parser().parse_args(arguments) for _, arguments in calls[1:3])
    assert (classifier.minutes, classifier.seed, classifier.preset) == (5, 3, "small")
    # The faces are cut by the detector that was just trained.
    assert str(classifier.detector) == "new"
    assert (classifier.refine, refine.refine) == (False, True)
    assert calls[3][1][-2:] == ["--checkpoint", "refined.pt"]


def test_a_folder_leaves_the_detector_as_it_is(calls: Calls) -> None:
    assert everything.main(["--folder", "my photos", "--mix", "0.5"]) == 0
    assert [name for name, _ in calls] == ["classifier", "classifier", "export"]
    assert all(arguments[arguments.index("--folder") + 1] == "my photos" for _, arguments in calls)
    assert all(arguments[arguments.index("--mix") + 1] == "0.5" for _, arguments in calls)


def test_a_stage_that_fails_ends_it(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_detector, "main", lambda _: 2)
    assert everything.main([]) == 2
    assert not calls


def test_stages_can_be_chosen(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert everything.main(["--stages", "refine,export"]) == 0
    assert [name for name, _ in calls] == ["classifier", "export"]
    with pytest.raises(SystemExit):
        everything.main(["--stages", "detect"])
    assert "there is no stage detect" in capsys.readouterr().err
