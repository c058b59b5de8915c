package stakeout.bench;

/** A payment; `index` is its place in the log. */
public class Tx {
    public int index;
    public int card;
    public int country;
    public long ts;
    public double amount;
}
