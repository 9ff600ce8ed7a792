"""A finished model judged on other labelled data: scores, intervals, pictures, one page."""
