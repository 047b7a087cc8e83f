"""zhconv: converts the texts of a JSON file to Simplified Chinese by MediaWiki's tables.

Arguments: the file, a list of strings, and the file to write.
"""

import json
import sys
from pathlib import Path

import zhconv

texts = json.loads(Path(sys.argv[1]).read_text("utf-8"))
converted = [zhconv.convert(text, "zh-hans") for text in texts]
Path(sys.argv[2]).write_text(json.dumps(converted), "utf-8")
print(json.dumps({"rows": len(texts)}))
