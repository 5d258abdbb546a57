"""What a stored object shows: a frame as a picture, its header, a report's text, a document.

Start reading at pictures.py, what others ask; decoder.py gives all frames as native pixels.
Objects come from outside, and decoders are written in C: whatever is read of them is read in
a child process (child.py) with bounds of time and memory. That process gets at nothing: the
bytes that it wants it asks its parent for (source.py), piece by piece, so that one frame of
2 GiB is read alone; process.py is the parent's side of it, pool.py has the children that
there are, wire.py is what both say.

In the child: frame.py decodes with the codecs of codecs.py and grey.py makes values grey;
native.py decodes frame after frame; elements.py lists a header, content.py the text of a report.

The rules that this package bears:

1. A picture is for finding one's way, not for diagnosis.
2. A child that is late, too large or dead is ended and replaced; the others never notice.
3. What can't be shown says why (`Unshowable`), and is not tried again for a while.
4. A child dies with its parent: its wish for work ends with the pipe, and so does it; what
   it is busy with ends by the kernel's alarm.
"""

from mwl.pictures.decoder import Decoder, Native
from mwl.pictures.pictures import Frame, Pictures, Source, Unshowable
from mwl.pictures.pool import Busy
from mwl.pictures.process import Limits
from mwl.pictures.window import Window

__all__ = [
    "Busy",
    "Decoder",
    "Frame",
    "Limits",
    "Native",
    "Pictures",
    "Source",
    "Unshowable",
    "Window",
]
