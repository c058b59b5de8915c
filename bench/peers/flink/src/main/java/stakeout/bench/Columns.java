package stakeout.bench;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;

/** Event i of a folder that `bench/data.py` dumped. */
final class Columns extends RichMapFunction<Long, Tx> {
    private final String folder;
    private transient ByteBuffer card;
    private transient ByteBuffer ts;
    private transient ByteBuffer amount;
    private transient ByteBuffer country;

    Columns(String folder) {
        this.folder = folder;
    }

    @Override
    public void open(OpenContext context) throws IOException {
        card = map("card.i32");
        ts = map("ts.i64");
        amount = map("amount.f64");
        country = map("country.i32");
    }

    @Override
    public Tx map(Long index) {
        int i = index.intValue();
        Tx tx = new Tx();
        tx.index = i;
        tx.card = card.getInt(4 * i);
        tx.ts = ts.getLong(8 * i);
        tx.amount = amount.getDouble(8 * i);
        tx.country = country.getInt(4 * i);
        return tx;
    }

    private ByteBuffer map(String name) throws IOException {
        try (FileChannel file = FileChannel.open(Path.of(folder, name))) {
            return file.map(FileChannel.MapMode.READ_ONLY, 0, file.size()).order(ByteOrder.LITTLE_ENDIAN);
        }
    }
}
