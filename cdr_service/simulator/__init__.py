"""A simulated Meeting Server: made-up meetings with known answers, told in CDRs as a real one tells them."""
