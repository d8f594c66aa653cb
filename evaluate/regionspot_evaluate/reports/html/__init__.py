"""`regionspot evaluate report`: one HTML file that says where a head is strong and where weak."""
