"""Judge what the networks say of labelled photographs, with numpy, OpenCV and, for charts, matplotlib."""
