"""The rules: YAML read with positions, checked, and compiled to the plans of `flowops.core`."""
