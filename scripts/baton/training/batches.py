"""How many images are computed at a time where no setting says so; known without TensorFlow, as the plan needs it."""

VALIDATION_BATCH = 64
PREDICTION_BATCH = 32
