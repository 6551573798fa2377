"""The Natural Scenes Dataset (NSD), its two extra sessions, and a miniature of its files."""
