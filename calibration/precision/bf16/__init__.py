"""Measures what bf16 loses on this CPU. Nothing is quantised: the graphs are those of fp32."""
