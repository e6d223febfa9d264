"""What is found about networks: health, SLA, trends, incidents; scoring's formulas over what is stored."""
