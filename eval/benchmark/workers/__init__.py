"""Programs of one contestant each: none imports another, and only ours import Salience."""
