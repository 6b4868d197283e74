"""Syntax errors in style sheets: scripts/check_css.py FILE... Needs tinycss2 (Debian: python3-tinycss2)."""

import sys

import tinycss2

NESTED = {"media", "supports"}


def errors(nodes):
    for node in nodes:
        if node.type == "error":
            yield f"{node.source_line}:{node.source_column}: {node.message}"
        elif node.type == "at-rule" and node.lower_at_keyword in NESTED:
            yield from errors(tinycss2.parse_rule_list(node.content or []))
        elif node.type == "qualified-rule":
            yield from errors(tinycss2.parse_declaration_list(node.content))


def main(paths):
    found = 0
    for path in paths:
        with open(path, "rb") as file:
            nodes, _ = tinycss2.parse_stylesheet_bytes(file.read())
        for error in errors(nodes):
            print(f"{path}:{error}")
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
