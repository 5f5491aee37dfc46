"""Files of products, written in their exact public layout from arrays given."""
