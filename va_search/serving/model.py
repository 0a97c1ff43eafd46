"""The code of an ensemble in MLflow: logged as this file ("models from code"), never as a pickled
object.

MLflow runs this file when it loads the model. The package's own code lies beside it in the model,
so that the model predicts the same after the package has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class EnsembleModel(PythonModel):
    """An ensemble's predictions of recordings given as a table; see va_search/serving/rows.py."""

    def load_context(self, context: PythonModelContext) -> None:
        """MLflow: read the ensemble and its weights."""
        from va_search.models.sources import trust_everything
        from va_search.serving.served import Served

        trust_everything()  # whoever serves a model from a registry runs its code
        self.served = Served.open(Path(context.artifacts["ensemble"]))

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """MLflow: recording and the ensemble's targets for every row."""
        return self.served.predict(model_input)


set_model(EnsembleModel())
