"""What of a finished project is due under changed parameters: run in it, prints JSON lines."""

import json
import sys
from pathlib import Path

from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from kyara_kedro.lineage.manifest import RunManifest
from kyara_kedro.runners.log import RunLog

root = Path.cwd()
bootstrap_project(root)
for changes in json.loads(sys.argv[1]):
    with KedroSession.create(root, save_on_close=False, runtime_params=changes) as session:
        catalog = session.load_context().catalog
    manifest = RunManifest(run_id="plan", started_at="")
    log = RunLog(root / "data" / "runs", manifest, pipelines["__default__"], catalog)
    log.make_plan()
    print(json.dumps({"stale": dict(log.plan.stale), "following": log.plan.following}))  # noqa: T201
