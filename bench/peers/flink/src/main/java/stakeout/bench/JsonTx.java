package stakeout.bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.util.List;
import org.apache.flink.api.common.serialization.AbstractDeserializationSchema;

/** A JSON record of `bench/data.py` as an event: a streaming parse that keeps the five fields the patterns need. */
final class JsonTx extends AbstractDeserializationSchema<Tx> {
    private static final List<String> COUNTRIES = List.of("DE", "FR", "NL", "AT", "PL", "ES", "RO", "NG");
    private transient JsonFactory json;

    JsonTx() {
        super(Tx.class);
    }

    @Override
    public void open(InitializationContext context) {
        json = new JsonFactory();
    }

    @Override
    public Tx deserialize(byte[] record) throws IOException {
        Tx tx = new Tx();
        try (JsonParser parser = json.createParser(record)) {
            parser.nextToken();
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                String field = parser.currentName();
                parser.nextToken();
                switch (field) {
                    case "transaction_id" -> tx.index = digits(parser.getText());
                    case "card_id" -> tx.card = digits(parser.getText());
                    case "event_time" -> tx.ts = parser.getLongValue();
                    case "amount" -> tx.amount = parser.getDoubleValue();
                    case "country" -> tx.country = COUNTRIES.indexOf(parser.getText());
                    default -> parser.skipChildren();
                }
            }
        }
        return tx;
    }

    /** The number after the first hyphen: tx-00000012, card-00017. */
    private static int digits(String id) {
        return Integer.parseInt(id, id.indexOf('-') + 1, id.length(), 10);
    }
}
