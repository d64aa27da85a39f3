"""The set-up: questions in a terminal, what platforms say to the answers, and a configuration file that holds them."""
