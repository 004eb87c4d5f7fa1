"""The peer: an operator that does for one Service what Plumb does, as its authors would write it for speed."""
import kopf


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_):
    settings.posting.enabled = False
    # Events are handled as they come, not gathered first.
    settings.queueing.batch_window = 0
    settings.queueing.idle_timeout = 3600


@kopf.on.event("services", when=lambda name, **_: name == "kopf")
async def hold(spec, patch, **_):
    if spec.get("type") != "LoadBalancer":
        patch.spec["type"] = "LoadBalancer"
