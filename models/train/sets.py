"""What heads learn from: CLINC150 and banking77 from a folder given, and the seeds beside this file.

Rows of CLINC150's validation data at odd places are never read here: `tandem scorecard` reports on them.
"""

import csv
import json
import pathlib

SEEDS = pathlib.Path(__file__).parent / "seeds" / "train.tsv"

# CLINC150's domains of banking and credit cards, and what else of it banking77 has intents for.
NEAR_BANKING = set(
    """transfer transactions balance freeze_account pay_bill bill_balance bill_due interest_rate routing min_payment order_checks
    pin_change report_fraud account_blocked spending_history credit_score report_lost_card credit_limit rewards_balance new_card
    application_status card_declined international_fees apr redeem_rewards credit_limit_change damaged_card replacement_card_duration
    improve_credit_score expiration_date exchange_rate travel_notification direct_deposit rollover_401k income taxes insurance
    order_status order cancel change_user_name accept_reservations""".split()
)


def clinc(folder):
    """Training, outside of it, and the halves of validation that thresholds may come from."""
    data = json.loads((pathlib.Path(folder) / "clinc150/train_val.json").read_text(encoding="utf-8"))
    return data["train"], data["oos_train"], data["val"][::2], data["oos_val"][::2]


def banking(folder):
    with open(pathlib.Path(folder) / "banking77/train.csv", encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def seeds():
    lines = SEEDS.read_text(encoding="utf-8").splitlines()
    names = lines[0].split("\t")
    return [dict(zip(names, line.split("\t"))) for line in lines[1:]]
