"""The size limit in the settings, and the command that clears the store."""

from comfy import wait_for
from conftest import wait_for_app
from editor import load_workflow, run_workflow, set_setting, wait_for_state

SETTING = "ZOODiP.Store.SizeLimit"
COMMAND = "ZOODiP.ClearFinishedTrainings"


def limit(comfy) -> int:
    return comfy.get("/zoodip/v1/store")["limit_mb"]


def shown_limit(page) -> int:
    return page.evaluate("(name) => window.app.extensionManager.setting.get(name)", SETTING)


def test_the_setting_shows_the_servers_limit_and_loading_changes_nothing(page, comfy):
    comfy.post("/zoodip/v1/store", {"limit_mb": 768})
    sent = []
    page.on("request", lambda r: r.method == "POST" and "/zoodip/" in r.url and sent.append(r.url))
    page.reload()
    wait_for_app(page)
    wait_for(lambda: shown_limit(page) == 768, 20, "the server's limit in the settings")
    assert limit(comfy) == 768
    assert sent == []


def test_a_changed_setting_reaches_the_server(page, comfy):
    comfy.post("/zoodip/v1/store", {"limit_mb": 300})
    page.reload()
    wait_for_app(page)
    wait_for(lambda: shown_limit(page) == 300, 20, "the server's limit in the settings")
    set_setting(page, SETTING, 512)
    wait_for(lambda: limit(comfy) == 512, 20, "the new limit on the server")


def test_the_setting_is_in_the_dialog_under_its_name(page):
    page.evaluate("() => window.app.extensionManager.command.execute('Comfy.ShowSettingsDialog')")
    page.get_by_text("ZOODiP", exact=True).first.click()
    page.get_by_text("Size limit (MB)", exact=True).first.wait_for()


def test_the_command_asks_and_then_clears(page, comfy):
    load_workflow(page, steps=30, seed=31)
    run_workflow(page)
    wait_for_state(page, "finished", "reused")
    wait_for(comfy.idle, 30, "an idle queue")
    runs = comfy.get("/zoodip/v1/store")["jobs"]
    assert runs >= 1
    page.evaluate(f"() => void window.app.extensionManager.command.execute('{COMMAND}')")
    dialog = page.get_by_role("dialog").filter(has_text="Clear finished trainings")
    dialog.get_by_role("button", name="Cancel").click()
    dialog.wait_for(state="detached")
    assert comfy.get("/zoodip/v1/store")["jobs"] == runs

    page.evaluate(f"() => void window.app.extensionManager.command.execute('{COMMAND}')")
    dialog.get_by_role("button", name="Delete").click()
    page.get_by_text("MB freed").first.wait_for()
    assert comfy.get("/zoodip/v1/store")["jobs"] == 0


def test_the_command_has_its_english_label(page):
    command = page.evaluate(
        "(id) => { const c = window.app.extensionManager.command.commands.find((c) => c.id === id);"
        " return c && { label: c.label, menu: c.menubarLabel }; }",
        COMMAND,
    )
    assert command == {
        "label": "ZOODiP: Clear finished trainings",
        "menu": "Clear finished trainings",
    }
