"""One folder per published API that we answer in. A dialect is a translation: it holds no rule."""
