"""Tables and pages made of what an evaluation wrote."""
