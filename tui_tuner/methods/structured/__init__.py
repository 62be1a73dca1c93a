"""Methods of peft whose updates have a shape of their own."""
