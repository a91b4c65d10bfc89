"""The setting that turns the HTTP API for scripts on and off."""

from comfy import wait_for
from conftest import wait_for_app
from editor import set_setting

SETTING = "ZOODiP.HttpApi.Enabled"


def enabled(comfy) -> bool:
    return comfy.get("/zoodip/api")["enabled"]


def shown(page) -> bool:
    return page.evaluate("(name) => window.app.extensionManager.setting.get(name)", SETTING)


def test_it_turns_the_api_on_and_off_and_says_so(page, comfy):
    wait_for(lambda: shown(page) is False, 20, "the setting")
    set_setting(page, SETTING, True)
    wait_for(lambda: enabled(comfy), 20, "the setting on the server")
    state = comfy.get("/zoodip/api")
    # Another program may have the port; the page says that then.
    page.get_by_text(state["url"] or state["problem"]).first.wait_for()
    set_setting(page, SETTING, False)
    wait_for(lambda: not enabled(comfy), 20, "the setting on the server")
    page.get_by_text("The HTTP API is off.").first.wait_for()
    assert comfy.get("/zoodip/api")["url"] is None


def test_it_shows_what_the_server_has_and_loading_changes_nothing(page, comfy):
    comfy.post("/zoodip/api", {"enabled": True})
    sent = []
    page.on("request", lambda r: r.method == "POST" and "/zoodip/" in r.url and sent.append(r.url))
    page.reload()
    wait_for_app(page)
    wait_for(lambda: shown(page) is True, 20, "the server's setting")
    assert sent == []
    comfy.post("/zoodip/api", {"enabled": False})
