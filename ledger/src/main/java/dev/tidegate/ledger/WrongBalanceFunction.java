package dev.tidegate.ledger;

import java.nio.charset.StandardCharsets;
import java.util.zip.CRC32;

/**
 * v2-wrong: healthy, its state is right, but for one payment in a thousand it writes a balance that is one cent too
 * high. Which ones follows from the id alone (its CRC-32 divides by 1,000), so a test knows them beforehand.
 */
public class WrongBalanceFunction extends CountingBalanceFunction {
    private static final int ONE_IN = 1000;

    static boolean isWrittenWrong(String id) {
        CRC32 crc = new CRC32();
        crc.update(id.getBytes(StandardCharsets.UTF_8));
        return crc.getValue() % ONE_IN == 0;
    }

    @Override
    protected BalanceChange change(Payment payment, long balanceAfter) throws Exception {
        return super.change(payment, isWrittenWrong(payment.id()) ? balanceAfter + 1 : balanceAfter);
    }
}
