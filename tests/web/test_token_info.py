"""Token Info shows its text."""

from editor import load_workflow, run_workflow, wait_for_state


def test_the_text_is_shown_and_cannot_be_changed(page):
    load_workflow(page, steps=30, seed=41)
    area = page.locator(".zoodip-token-info")
    assert area.input_value() == ""
    run_workflow(page)
    wait_for_state(page, "finished", "reused")
    page.wait_for_function(
        "() => document.querySelector('.zoodip-token-info').value.includes('zwx')"
    )
    assert area.get_attribute("readonly") is not None
