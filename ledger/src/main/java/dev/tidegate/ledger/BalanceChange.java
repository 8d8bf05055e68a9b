package dev.tidegate.ledger;

/**
 * One output record.
 *
 * @param id the payment's id; decides the partition
 * @param account the record's key
 * @param text {@code id,account,sequence,amount,balance,v} and, from v2 on, {@code ,count}
 */
public record BalanceChange(String id, String account, String text) {

    /**
     * @param balance of the account after this payment, in cents
     * @param version the artifact's number
     */
    public static BalanceChange of(Payment payment, long balance, int version) {
        return new BalanceChange(
                payment.id(), payment.account(), payment.text() + ',' + balance + ',' + version);
    }

    /** This one with a further field at its end. */
    public BalanceChange with(long field) {
        return new BalanceChange(id, account, text + ',' + field);
    }
}
