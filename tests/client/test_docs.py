"""What docs/client.md shows is run."""

import asyncio
import re
from pathlib import Path
from typing import Any

from payonce.config import load
from payonce.serving import serving

PAGE = Path(__file__).resolve().parents[2] / "docs" / "client.md"


def test_the_pages_code_runs(tmp_path: Path, capsys: Any) -> None:
    """Every block, word for word, against a server on a free port, with a key."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)

    async def run() -> None:
        async with serving(load({"store.data_dir": str(tmp_path), "server.port": 0})) as served:
            key, token = served.app.keys.new("mer_default", "test", ["payments:write", "refunds:write"])
            await served.app.keys.add(key)
            for block in blocks:
                code = block.replace("http://127.0.0.1:8080", served.url).replace('"keys.db"', repr(str(tmp_path / "keys.db")))
                await asyncio.to_thread(exec, compile(code, "client.md", "exec"), {"api_key": token})

    asyncio.run(run())
    assert len(blocks) == 3
    said = capsys.readouterr().out
    assert "SUCCESS" in said
    assert "not_found Nothing is known" in said
