"""What the page makes of events and answers that come late, twice or out of order."""

MODULE = "/extensions/ComfyUI-ZOODiP/run.js"


def run(page, script: str):
    """`script` with a new `model` and `event(step, points, id)`; what it returns."""
    return page.evaluate(
        f"""async () => {{
          const {{ RunModel }} = await import("{MODULE}");
          const model = new RunModel();
          const event = (step, points, id = "a") =>
            ({{ id, state: "running", stage: "training", step, steps: 9000, points }});
          {script}
        }}"""
    )


def test_points_follow_each_other(page):
    assert run(
        page,
        """model.applyEvent(event(1, [[1, 0.5, 0.5]]));
        model.applyEvent(event(3, [[2, 0.4, 0.45], [3, 0.3, 0.4]]));
        return model.points.map((point) => point[0]);""",
    ) == [1, 2, 3]


def test_a_run_that_goes_back_replaces_what_lay_ahead(page):
    assert run(
        page,
        """model.applyEvent(event(3, [[1, 1, 1], [2, 2, 2], [3, 3, 3]]));
        model.applyEvent(event(2, [[2, 7, 7]]));
        return model.points;""",
    ) == [[1, 1, 1], [2, 7, 7]]


def test_another_run_begins_an_empty_curve(page):
    assert run(
        page,
        """model.applyEvent(event(1, [[1, 1, 1]]));
        model.applyEvent(event(1, [[1, 2, 2]], "b"));
        return model.points;""",
    ) == [[1, 2, 2]]


def test_a_run_met_in_its_middle_asks_for_the_whole(page):
    asked = run(
        page,
        """return [event(0, []), event(40, [[40, 1, 1]], "b"), event(41, [[41, 1, 1]], "b"),
          event(60, [], "c")].map((payload) => model.applyEvent(payload));""",
    )
    assert asked == [False, True, False, True]


def test_a_late_answer_undoes_no_event(page):
    points, step = run(
        page,
        """const since = model.expectWhole();
        model.applyEvent(event(4, [[3, 3, 3], [4, 4, 4]]));
        model.applyWhole(since, event(3, [[1, 1, 1], [2, 2, 2], [3, 3, 3]]));
        return [model.points.map((point) => point[0]), model.info.step];""",
    )
    assert points == [1, 2, 3, 4]
    assert step == 4


def test_an_answer_about_an_earlier_run_is_dropped(page):
    assert run(
        page,
        """const since = model.expectWhole();
        model.applyEvent(event(1, [[1, 5, 5]], "b"));
        model.applyWhole(since, event(3, [[1, 1, 1], [2, 2, 2]]));
        return [model.info.id, model.points];""",
    ) == ["b", [[1, 5, 5]]]


def test_two_answers_at_once_end_with_the_newest(page):
    assert run(
        page,
        """const first = model.expectWhole();
        const second = model.expectWhole();
        model.applyWhole(first, event(2, [[1, 1, 1], [2, 2, 2]]));
        model.applyEvent(event(3, [[3, 3, 3]]));
        model.applyWhole(second, event(2, [[1, 1, 1], [2, 2, 2]]));
        return [model.info.step, model.points.length];""",
    ) == [3, 3]


def test_a_long_curve_is_thinned_and_keeps_its_last_point(page):
    count, last = run(
        page,
        """for (let step = 1; step <= 9000; step += 1) {
          model.applyEvent(event(step, [[step, 1, 1]]));
        }
        return [model.points.length, model.points.at(-1)[0]];""",
    )
    assert 1000 <= count <= 2000
    assert last == 9000


def test_points_that_are_no_numbers_are_left_out(page):
    assert run(
        page,
        """model.applyEvent(event(3, [[1, null, null], [2, 0.5, null], "x", [3]]));
        return model.points;""",
    ) == [[2, 0.5, None]]


def test_losses_of_fixed_samples_come_whole_and_stay_until_another_run(page):
    assert run(
        page,
        """const seen = [];
        const tell = (payload) => { model.applyEvent(payload); seen.push([...model.validations]); };
        tell({ ...event(1, []), validations: [[0, 0.5], [1, null]] });
        tell(event(2, [[2, 1, 1]]));
        tell({ ...event(3, []), validations: [[0, 0.5], [3, 0.25]] });
        tell(event(1, [], "b"));
        return seen.map((each) => each.map((one) => one[0]));""",
    ) == [[0], [0], [0, 3], []]


def test_an_answer_brings_the_losses_of_fixed_samples(page):
    assert run(
        page,
        """const since = model.expectWhole();
        model.applyWhole(since, { ...event(3, [[1, 1, 1]]), validations: [[0, 0.5]] });
        return model.validations;""",
    ) == [[0, 0.5]]
