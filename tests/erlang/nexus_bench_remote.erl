%% What `nexus bench --remote` shows beside Nexus: the same work between two nodes of Erlang distribution over loopback, as one line of
%% JSON on the standard output.
%%
%%   erlc nexus_bench_remote.erl
%%   erl -name far@127.0.0.1  -setcookie C -start_epmd false -erl_epmd_port P -noshell -s nexus_bench_remote far
%%   erl -name near@127.0.0.1 -setcookie C -start_epmd false -erl_epmd_port P -dist_listen false -noshell \
%%       -s nexus_bench_remote near ROUNDS TELLS ASKS
%%
%% Rates are by the second, times in nanoseconds; each is the median of the rounds. The far node ends when the near one does.
-module(nexus_bench_remote).
-export([far/0, near/1]).

-define(MANY, 64).
-define(FAR, 'far@127.0.0.1').

far() ->
    Pids = [spawn(fun() -> receiver(0) end) || _ <- lists:seq(1, ?MANY)],
    register(?MODULE, spawn(fun() -> guide(list_to_tuple(Pids)) end)),
    %% Whoever starts it waits for this line.
    io:format("ready~n").

guide(Receivers) ->
    receive {who, From} ->
        monitor_node(node(From), true),
        From ! {receivers, Receivers},
        receive {nodedown, _} -> halt(0) end
    end.

receiver(Handled) ->
    receive
        {tell, count, _Payload} -> receiver(Handled + 1);
        {ask, Ref, Payload} -> Ref ! {Ref, Payload}, receiver(Handled + 1)
    end.

near(Arguments) ->
    [Rounds, Tells, Asks] = [list_to_integer(atom_to_list(A)) || A <- Arguments],
    true = net_kernel:connect_node(?FAR),
    {?MODULE, ?FAR} ! {who, self()},
    Receivers = receive {receivers, R} -> R end,
    Measured = [round(Receivers, Tells, Asks) || _ <- lists:seq(1, Rounds)],
    Keys = [Key || {Key, _} <- hd(Measured)],
    Fields = [io_lib:format("\"~s\":~.3f", [Key, float(median([proplists:get_value(Key, M) || M <- Measured]))])
              || Key <- Keys],
    io:format("{~s}~n", [lists:join(",", Fields)]),
    halt(0).

round(Receivers, Tells, Asks) ->
    One = tells(Receivers, 1, Tells),
    Many = tells(Receivers, ?MANY, Tells),
    Times = [ask(element(1, Receivers)) || _ <- lists:seq(1, Asks)],
    [{tell_one, One}, {tell_many, Many}, {ask_p50_ns, quantile(Times, 0.5)}, {ask_p99_ns, quantile(Times, 0.99)},
     {asks, askers(Receivers, Asks * 4 div ?MANY)}].

%% Asks at the end show that all have been handled.
tells(Receivers, Targets, Count) ->
    Payload = <<0:800>>,
    Started = nanos(),
    send_all(Receivers, Targets, Count, Payload),
    [ask(element(N, Receivers)) || N <- lists:seq(1, Targets)],
    Count * 1.0e9 / (nanos() - Started).

send_all(_, _, 0, _) -> ok;
send_all(Receivers, Targets, Left, Payload) ->
    element(Left rem Targets + 1, Receivers) ! {tell, count, Payload},
    send_all(Receivers, Targets, Left - 1, Payload).

%% As gen_server:call does it: a monitor, whose reference is the reply's.
ask(Receiver) ->
    Started = nanos(),
    Ref = monitor(process, Receiver, [{alias, reply_demonitor}]),
    Receiver ! {ask, Ref, <<0:800>>},
    receive {Ref, _Answer} -> ok end,
    nanos() - Started.

askers(Receivers, Each) ->
    Started = nanos(),
    Asking = [spawn_monitor(fun() -> [ask(Receiver) || _ <- lists:seq(1, Each)] end)
              || Receiver <- tuple_to_list(Receivers)],
    [receive {'DOWN', Ref, process, Pid, normal} -> ok end || {Pid, Ref} <- Asking],
    Each * ?MANY * 1.0e9 / (nanos() - Started).

nanos() -> erlang:monotonic_time(nanosecond).

median(Values) -> quantile(Values, 0.5).

quantile(Values, Part) ->
    Sorted = lists:sort(Values),
    lists:nth(1 + round((length(Sorted) - 1) * Part), Sorted).
